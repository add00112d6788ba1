# SPDX-License-Identifier: Apache-2.0
"""`mezd identity`: certificates for a program on this machine, renewed before they expire."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NoReturn

import attrs
import click
import trio

from mezite.cli.hub_client.trusted_roots import read_roots
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.log_setup import configure_logging
from mezite.cli.mezd.machine_home import MachineHome
from mezite.cli.mezd.machine_identity import FirstStart, begin, renew
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, first_cause, run_command
from mezite.core.backoff import Backoff
from mezite.core.durations import format_duration
from mezite.core.errors import ExplainedError
from mezite.core.join_token import InvalidJoinTokenError, JoinToken, parse_ca_pin, parse_join_token
from mezite.core.timestamps import format_timestamp

__all__ = ["identity", "keep_renewed"]

_log = logging.getLogger("mezite.identity")

LOOK_SECONDS = 60
"""How long a wait goes on without a look at the clock, which may have been set or stood still."""

RETRY_SECONDS = 5.0
MAX_RETRY_SECONDS = 60.0
"""The shortest certificate lives five minutes and is renewed after a hundred seconds: three tries or more are left."""

_ANOTHER = "mezctl identities token NAME"


@click.group(cls=CommandGroup, help="Certificates for a program on this machine.")
def identity() -> None:
    """Group only."""


@identity.command(help="Get certificates with a one-time token, and renew them from then on.")
@click.option(
    "--destination",
    required=True,
    envvar="MEZITE_DESTINATION",
    metavar="DIR",
    help="Where keys, certificates and ssh_config go.",
)
@click.option(
    "--auth-server",
    envvar="MEZITE_AUTH_ADDR",
    metavar="HOST[:PORT]",
    help="The hub's gRPC address, for the first start; port 3025.",
)
@click.option(
    "--token",
    envvar="MEZITE_JOIN_TOKEN",
    metavar="TOKEN",
    help="What `mezctl identities create` prints; visible to others on this machine, prefer the next.",
)
@click.option("--token-file", envvar="MEZITE_JOIN_TOKEN_FILE", metavar="FILE", help="File with the token.")
@click.option("--ca-pin", envvar="MEZITE_CA_PIN", metavar="PIN", help="Overrides the pin inside the token.")
@click.option("--ca-file", envvar="MEZITE_OUTER_CA_FILE", metavar="FILE", help="Further roots, PEM.")
@click.option("--once", is_flag=True, help="Renew now and exit, for a timer or a build.")
def start(**given: Any) -> None:
    """Begin if there is nothing in the directory yet, then renew."""
    configure_logging()
    home = MachineHome(Path(given["destination"]))
    # From here on this program is msh at home in that directory.
    os.environ["MSH_HOME"] = str(home.folder)
    first = _first_start(given) if home.is_empty() else None
    run_command(_run, home, first, given["once"])


def _first_start(given: dict[str, Any]) -> FirstStart:
    token = _token(given)
    if not given["auth_server"]:
        raise CliError(
            "the hub is not known", "", "give its gRPC address with --auth-server", exit_code=EXIT_USAGE
        )
    roots = b"" if given["ca_file"] is None else read_roots(given["ca_file"])
    outbound = way_out(roots) if roots else way_out()
    return FirstStart(auth_server=given["auth_server"], token=token, outbound=outbound, front_roots=roots)


def _token(given: dict[str, Any]) -> JoinToken:
    text = given["token"]
    if not text and given["token_file"]:
        try:
            text = Path(given["token_file"]).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise CliError(f"cannot read {given['token_file']}", str(error), "check --token-file") from None
    if not text:
        raise CliError(
            f"there is no identity in {given['destination']} yet",
            "and there is no token",
            "give --token-file or MEZITE_JOIN_TOKEN with what `mezctl identities create` prints",
            exit_code=EXIT_USAGE,
        )
    try:
        token = parse_join_token(text)
        return attrs.evolve(token, ca_pin=parse_ca_pin(given["ca_pin"] or token.ca_pin))
    except InvalidJoinTokenError as error:
        raise CliError(
            "the token cannot be used", str(error), f"make one with `{_ANOTHER}`", exit_code=EXIT_USAGE
        ) from None


async def _run(home: MachineHome, first: FirstStart | None, once: bool) -> None:
    if first is not None:
        await begin(home, first)
        _say("identity issued", home)
    elif once:
        _check_usable(home, _now())
        await renew(home)
        _say("identity renewed", home)
    if once:
        return
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_signals, nursery.cancel_scope)
        await keep_renewed(home, lambda: renew(home))


async def _watch_signals(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("shutting down", extra={"signal": signal.Signals(number).name})
            scope.cancel()
            return


def _now() -> float:
    return time.time_ns() / 1e9


async def keep_renewed(
    home: MachineHome,
    renew_once: Callable[[], Awaitable[None]],
    *,
    now: Callable[[], float] = _now,
    jitter: Callable[[], float] = random.random,
) -> NoReturn:
    """Renew at a third of the certificate's life, again and again. `now` is the wall clock, seconds since 1970.

    :raises CliError: the certificate has expired: nothing renews it any more.
    """
    backoff = Backoff(initial=RETRY_SECONDS, maximum=MAX_RETRY_SECONDS)
    while True:
        _check_usable(home, now())
        left = home.renewal_due() - now()
        if left > 0:
            await trio.sleep(min(left, LOOK_SECONDS))
            continue
        failure = await _failure(renew_once)
        if not failure:
            backoff = Backoff(initial=RETRY_SECONDS, maximum=MAX_RETRY_SECONDS)
            _say("identity renewed", home)
            continue
        wait = backoff.next_wait(jitter())
        _log.error("renewal failed, trying again", extra={"reason": failure, "retry_in_seconds": round(wait)})
        await trio.sleep(wait)


async def _failure(renew_once: Callable[[], Awaitable[None]]) -> str:
    """Renew; why it did not work, empty when it did."""
    failure = ""
    try:
        await renew_once()
    except* (ExplainedError, OSError, trio.TooSlowError) as group:
        failure = str(first_cause(group)) or "no answer in time"
    return failure


def _check_usable(home: MachineHome, now: float) -> None:
    _issued, end = home.lifetime()
    if now >= end:
        raise CliError(
            f"the identity in {home.folder} expired {format_duration(int(now - end))} ago",
            "an expired certificate renews nothing",
            f"delete the directory and start with what `{_ANOTHER}` prints",
        )


def _say(what: str, home: MachineHome) -> None:
    current, _profile = home.load()
    extra = {"identity": current.user, "until": format_timestamp(home.lifetime()[1] * 1000)}
    _log.info(what, extra={**extra, "destination": str(home.folder)})
