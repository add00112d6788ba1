# SPDX-License-Identifier: Apache-2.0
"""Showing a second factor before connecting, where roles ask for one for each session."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import attrs
import click

from mezite.cli.hub_client.user_session import open_api
from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.cli.terminal.escapes import escape_controls

if TYPE_CHECKING:
    from mezite.api.client import ApiClient
    from mezite.api.pb.mezite.v1 import session_proofs_pb2 as pb

__all__ = ["ProofAhead", "show_ahead"]

_SERVICE = "/mezite.v1.SessionProofService/"

WAIT_MS = 20_000
"""How long one call waits for the browser."""


@attrs.frozen(kw_only=True)
class ProofAhead:
    """What is to be shown for what."""

    targets: Sequence[str]
    """`NODE` or `LOGIN@NODE`."""
    window_seconds: int = 0
    """0: for one connection."""
    code: str = ""
    """Of an authenticator app; empty: it is asked for, or the browser is waited for."""


async def show_ahead(wanted: ProofAhead) -> bool:
    """Show a factor for the connections that will follow; False: none of the targets needs one.

    :raises CliError: not logged in, no factor that would do, a wrong code, refused or too late.
    """
    # Only who shows a factor pays for loading this.
    from mezite.api.pb.mezite.v1 import session_proofs_pb2 as pb  # noqa: PLC0415

    async with open_api() as hub:
        request = pb.BeginSessionProofRequest(targets=wanted.targets, window_seconds=wanted.window_seconds)
        pending = await hub.unary(_SERVICE + "BeginSessionProof", request, pb.PendingProof)
        if not pending.needed:
            return False
        code = wanted.code or _asked(pending)
        if not code:
            await _wait(hub, pending)
            return True
        if "totp" not in pending.factors:
            raise CliError(
                "a code is not enough",
                f"your roles ask for a security key ({escape_controls(pending.needs)})",
                "connect without --mfa-code and approve in the browser",
                exit_code=EXIT_USAGE,
            )
        answer = pb.AnswerSessionProofRequest(id=pending.id, totp="".join(code.split()))
        await hub.unary(_SERVICE + "AnswerSessionProof", answer, pb.ProofState)
    return True


def _asked(pending: pb.PendingProof) -> str:
    """Tell where it can be approved, and ask for a code where somebody is there who may have one."""
    click.echo(
        f"A second factor is needed ({escape_controls(pending.needs)}). Open\n"
        f"  {escape_controls(pending.url)}\n"
        f"in a browser and check that it shows the code {escape_controls(pending.code)}.",
        err=True,
    )
    if "totp" not in pending.factors or not sys.stdin.isatty():
        return ""
    prompt = "Code of your authenticator app, or Enter to wait for the browser"
    return str(click.prompt(prompt, err=True, default="", show_default=False)).strip()


async def _wait(hub: ApiClient, pending: pb.PendingProof) -> None:
    from mezite.api.pb.mezite.v1 import session_proofs_pb2 as pb  # noqa: PLC0415

    request = pb.AwaitSessionProofRequest(id=pending.id, wait_ms=WAIT_MS)
    state = "pending"
    while state == "pending":
        state = (await hub.unary(_SERVICE + "AwaitSessionProof", request, pb.ProofState)).state
    if state == "refused":
        raise CliError("it was refused in the browser")
    if state != "proven":
        raise CliError("no second factor was shown in time", "", "try again")
