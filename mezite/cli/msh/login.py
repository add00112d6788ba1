# SPDX-License-Identifier: Apache-2.0
"""`msh login`: a password or a single sign-on in, certificates for fresh keys out."""

from __future__ import annotations

import getpass
import os
import ssl
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import click

from mezite.cli.hub_client.hub_dialing import SYSTEM, front_outbound
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore, as_reached
from mezite.cli.hub_client.second_factor import ask_code, code_field, mfa_code_option, needed_factors
from mezite.cli.hub_client.sso_sign_in import KeysToCertify, SsoSignIn, check_connector
from mezite.cli.hub_client.trusted_roots import read_roots
from mezite.cli.hub_client.web_client import (
    ALPN,
    UntrustedHubError,
    WebClient,
    find_hub,
    trust_by_continuation,
    trust_by_pin,
    trusting,
)
from mezite.cli.msh.device_key import DeviceKey
from mezite.cli.msh.identity_files import write_identity_files
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.prompts import ask_password, password_options
from mezite.core.certificates.keys import (
    PrivateKey,
    generate_ed25519,
    generate_p256,
    private_key_pem,
    public_key_pem,
)
from mezite.core.certificates.openssh_key import openssh_private_key
from mezite.core.certificates.ssh import authorized_key_line, public_key_blob
from mezite.core.device_proof import certified_keys
from mezite.core.durations import format_duration, parse_duration
from mezite.core.join_token import InvalidJoinTokenError, parse_ca_pin
from mezite.core.secret import Secret
from mezite.core.timestamps import format_timestamp
from mezite.net.addresses import host_of
from mezite.net.tunnel_route import Carrier

__all__ = ["login"]


LOCAL = "local"
"""What the hub calls logging in without a connector."""

MAX_SKEW_MS = 5 * 60 * 1000
"""Certificates are backdated by five minutes (threat F6)."""


@attrs.frozen(kw_only=True)
class _Request:
    proxy: str
    user: str
    password: Secret
    ttl_seconds: int
    mfa_code: str
    ca_pin: str | None
    ca_file: str | None
    websocket: bool
    request_ids: tuple[str, ...] = ()
    connector: str = ""
    """Through which somebody signs in, `LOCAL` for the hub's own pages; empty for a password."""
    no_browser: bool = False


@attrs.frozen(kw_only=True)
class _Issued:
    current: CurrentProfile
    profile: Profile
    answer: dict[str, Any]


@click.command(help="Sign in at a hub and get an SSH and an X.509 certificate.")
@click.option("--proxy", required=True, metavar="HOST[:PORT]", help="The hub; without a port 443, then 3080.")
@click.option("--user", metavar="NAME", help="User at the hub.  [default: the local user]")
@password_options
@click.option(
    "--auth", metavar="CONNECTOR", help="Sign in through this connector, in a browser.  [default: a password]"
)
@click.option(
    "--no-browser",
    is_flag=True,
    help="Where a browser is needed (--auth, or a security key): show a code to enter on any machine.",
)
@click.option(
    "--ttl", default="0s", metavar="DURATION", help="Life of the certificates, at most 24h.  [default: 12h]"
)
@click.option("--out", metavar="PATH", help="Write OpenSSH identity files there instead of the profile.")
@mfa_code_option
@click.option(
    "--request-id", "request_ids", multiple=True, metavar="ID", help="An approved access request; repeatable."
)
@click.option("--ca-pin", metavar="PIN", help="What the hub's CA must hash to (`mezhub ca-pin`).")
@click.option("--ca-file", metavar="FILE", help="Further roots, PEM.")
@click.option(
    "--websocket", is_flag=True, help="Reach nodes through the HTTPS port too, where no other port passes."
)
def login(**given: Any) -> None:
    """Ask for what is missing, then log in."""
    try:
        ttl = parse_duration(given["ttl"])
    except ValueError as error:
        raise CliError("--ttl cannot be read", str(error), exit_code=EXIT_USAGE) from None
    connector = _connector(given)
    user, password = given["user"] or getpass.getuser(), Secret("")
    if not connector:
        password = ask_password(f"Password of {user}", given["password"], from_stdin=given["password_stdin"])
    request = _Request(
        proxy=given["proxy"],
        user=user,
        password=password,
        connector=connector,
        no_browser=given["no_browser"],
        ttl_seconds=ttl,
        mfa_code=given["mfa_code"],
        ca_pin=given["ca_pin"],
        ca_file=given["ca_file"],
        websocket=given["websocket"],
        request_ids=given["request_ids"],
    )
    try:
        issued = run_command(_login, request)
    except CliError as error:
        factors = needed_factors(error)
        if not factors:
            raise
        issued = run_command(_login, _with_factor(request, factors))
    if given["out"]:
        write_identity_files(Path(given["out"]), issued.profile)
        path = given["out"]
        click.echo(f"identity files: {path}, {path}-cert.pub, {path}.pub, {path}.known_hosts", err=True)
    else:
        ProfileStore.from_environment(os.environ).save(issued.current, issued.profile)
    _say(issued)


def _with_factor(request: _Request, factors: Sequence[str]) -> _Request:
    """The same login with what the hub has asked for: a code or, of who has keys only, a browser that can ask one.

    :raises CliError: nobody is there to ask, or an access request was named, which the browser's login cannot.
    """
    if list(factors) != ["webauthn"] or not (request.no_browser or sys.stdin.isatty()):
        return attrs.evolve(request, mfa_code=ask_code(factors).reveal())
    if request.request_ids:
        raise CliError(
            "--request-id needs a code here",
            "your second factor is a security key, which works in the browser only",
            "give a recovery code with --mfa-code, or log in without it and run msh request use ID",
            exit_code=EXIT_USAGE,
        )
    click.echo("Your second factor is a security key, which works in the browser.", err=True)
    return attrs.evolve(request, connector=LOCAL)


def _connector(given: dict[str, Any]) -> str:
    """The connector that was asked for, empty for a password. :raises CliError: options that do not go together."""
    connector = given["auth"] or ""
    if connector in ("", LOCAL):
        return ""
    for option in ("user", "password", "password_stdin"):
        if given[option]:
            raise CliError(
                f"--{option.replace('_', '-')} and --auth exclude each other",
                "who you are is asked where you sign in",
                exit_code=EXIT_USAGE,
            )
    if given["request_ids"]:
        raise CliError(
            "--request-id and --auth exclude each other",
            "",
            "log in, then run msh request use ID",
            exit_code=EXIT_USAGE,
        )
    return str(connector)


def _say(issued: _Issued) -> None:
    answer = issued.answer
    logins = ", ".join(answer["logins"]) or "none: ask an administrator for the trait `logins`"
    click.echo(f"logged in to {answer['cluster_name']} as {answer['user']}", err=True)
    click.echo(f"  roles   {', '.join(answer['roles']) or 'none'}", err=True)
    click.echo(f"  logins  {logins}", err=True)
    if answer.get("device_was_shown"):
        trusted = answer.get("device_id") or "not trusted: it waits for approval, or was removed"
        click.echo(f"  device  {trusted}", err=True)
    click.echo(f"  until   {format_timestamp(answer['expires_at_ms'])}", err=True)


async def _login(request: _Request) -> _Issued:
    address = await find_hub(request.proxy)
    trust, hub = await _introduce(request, address)
    web = WebClient(address=address, context=trust.context())
    _check_clock(int(hub["server_time_ms"]))
    if request.websocket and not hub.get("capabilities", {}).get("tunnel_websocket"):
        raise CliError(
            "--websocket cannot be used", f"the hub at {address} has no such door", "leave it away"
        )
    ssh_key, tls_key = generate_ed25519(), generate_p256()
    keys = KeysToCertify(
        ssh_public_key=authorized_key_line(public_key_blob(ssh_key.public_key())),
        tls_public_key_pem=public_key_pem(tls_key.public_key()).decode(),
        ttl_seconds=request.ttl_seconds,
    )
    if request.connector:
        if request.connector != LOCAL:
            check_connector(hub, request.connector)
        sign_in = SsoSignIn(web=web, connector=request.connector, with_browser=not request.no_browser)
        answer = await sign_in.run(keys)
    else:
        answer = await _with_password(web, hub, request, keys)
    issued = _issued(address, hub, answer, ssh_key, tls_key)
    carrier = Carrier.WEBSOCKET if request.websocket else Carrier.TCP
    return attrs.evolve(
        issued,
        current=attrs.evolve(issued.current, carrier=carrier.value),
        profile=attrs.evolve(issued.profile, front_roots=trust.front_roots),
    )


async def _with_password(
    web: WebClient, hub: dict[str, Any], request: _Request, keys: KeysToCertify
) -> dict[str, Any]:
    fields = {
        "username": request.user,
        "password": request.password.reveal(),
        **code_field(request.mfa_code),
    }
    session = Secret(str((await web.post("/v1/webapi/login", fields))["session"]))
    requests = {"request_ids": list(request.request_ids)} if request.request_ids else {}
    device = await _shown_device(web, hub, request.user, keys, session)
    wanted = {**attrs.asdict(keys), **requests, **device}
    answer = await web.post("/v1/webapi/certificates", wanted, token=session)
    # The certificates are all that is kept: the session would only lie around.
    await web.post("/v1/webapi/logout", {}, token=session)
    return {**answer, "device_was_shown": bool(device)}


async def _shown_device(
    web: WebClient, hub: dict[str, Any], user: str, keys: KeysToCertify, session: Secret
) -> dict[str, str]:
    """What proves this device, if it is enrolled for this user at this hub."""
    store = ProfileStore.from_environment(os.environ)
    device = DeviceKey.load(store, host_of(web.address), user)
    if device is None:
        return {}
    challenge = str((await web.post("/v1/webapi/devices/challenge", {}, token=session))["challenge"])
    certified = certified_keys(keys.ssh_public_key, keys.tls_public_key_pem)
    return device.login_fields(hub["cluster_name"], user, challenge, certified)


def _issued(
    address: str, hub: dict[str, Any], answer: dict[str, Any], ssh_key: PrivateKey, tls_key: PrivateKey
) -> _Issued:
    host = host_of(address)
    addresses = hub["addresses"]
    profile = Profile(
        ssh_key=openssh_private_key(ssh_key),
        ssh_certificate=f"{answer['ssh_certificate']}\n".encode(),
        tls_key=private_key_pem(tls_key),
        tls_certificate=answer["tls_certificate_pem"].encode(),
        ca_pem="".join(answer["host_tls_ca_pem"]).encode(),
        known_hosts="".join(f"@cert-authority * {line}\n" for line in answer["ssh_host_ca"]).encode(),
    )
    current = CurrentProfile(
        host=host,
        user=answer["user"],
        cluster=answer["cluster_name"],
        proxy_addr=address,
        auth_addr=as_reached(addresses.get("auth", ""), host),
        ssh_addr=as_reached(addresses.get("ssh", ""), host),
    )
    return _Issued(current=current, profile=profile, answer=answer)


@attrs.frozen(kw_only=True)
class _Trust:
    """Who may vouch for what answers at the web port: the cluster's CA, and who vouches for a balancer's."""

    ca_pem: tuple[bytes, ...] = ()
    front_roots: bytes = b""
    """As in the profile."""

    def context(self) -> ssl.SSLContext:
        if self.front_roots == SYSTEM:
            return front_outbound(SYSTEM).context(ALPN, self.ca_pem)
        return trusting((*self.ca_pem, self.front_roots) if self.front_roots else self.ca_pem)


async def _introduce(request: _Request, address: str) -> tuple[_Trust, dict[str, Any]]:
    """Find out whom to trust, and who the hub is.

    A CA of an earlier login may have been replaced since: what it has signed leads to its successors.
    """
    trust = await _trust(request, address)
    try:
        return trust, await WebClient(address=address, context=trust.context()).get("/v1/webapi/ping")
    except UntrustedHubError:
        if request.ca_pin is not None or not trust.ca_pem:
            raise
    found = await trust_by_continuation(address, b"".join(trust.ca_pem))
    click.echo("the hub's CA has changed: the one of your last login vouches for the new one", err=True)
    trust = attrs.evolve(trust, ca_pem=tuple(pem.encode() for pem in found.host_tls_ca_pem))
    return trust, await WebClient(address=address, context=trust.context()).get("/v1/webapi/ping")


async def _trust(request: _Request, address: str) -> _Trust:
    """The options, else what an earlier login to this hub has learned, else the system's roots."""
    front = b"" if request.ca_file is None else read_roots(request.ca_file)
    if request.ca_pin is not None:
        try:
            bundle = await trust_by_pin(address, parse_ca_pin(request.ca_pin))
        except InvalidJoinTokenError as error:
            raise CliError(
                "--ca-pin cannot be used",
                str(error),
                "take what `mezhub ca-pin` prints",
                exit_code=EXIT_USAGE,
            ) from None
        return _Trust(ca_pem=bundle, front_roots=front)
    if front:
        return _Trust(front_roots=front)
    try:
        ca_pem, front = ProfileStore.from_environment(os.environ).known_roots(host_of(address))
    except CliError:
        ca_pem, front = b"", b""
    return _Trust(ca_pem=(ca_pem,), front_roots=front) if ca_pem else _Trust(front_roots=SYSTEM)


def _check_clock(hub_time: int) -> None:
    off = time.time_ns() // 1_000_000 - hub_time
    if abs(off) > MAX_SKEW_MS:
        direction = "ahead of" if off > 0 else "behind"
        raise CliError(
            "cannot log in",
            f"this machine's clock is {format_duration(abs(off) // 1000)} {direction} the hub's, "
            "so certificates would not be valid",
            "set the clock (NTP) and try again",
        )
