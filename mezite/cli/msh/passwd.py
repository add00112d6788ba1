# SPDX-License-Identifier: Apache-2.0
"""`msh passwd`: a new password for oneself."""

from __future__ import annotations

import sys

import click

from mezite.api.pb.mezite.v1 import auth_pb2 as pb
from mezite.api.pb.mezite.v1.factors_pb2 import Proof
from mezite.cli.hub_client.proven_call import proven
from mezite.cli.hub_client.second_factor import mfa_code_option
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.cli.terminal.prompts import ask_password, confirm_new_password
from mezite.core.secret import Secret

__all__ = ["passwd"]


@click.command(help="Change your password; your other sessions end. Who has a second factor shows it.")
@click.option(
    "--password-stdin",
    is_flag=True,
    help="Read the old and the new password, a line each, from standard input.",
)
@mfa_code_option
def passwd(password_stdin: bool, mfa_code: str) -> None:
    """Ask for the old one and twice for the new one, and for a code if the hub wants one."""
    old, new = _from_stdin() if password_stdin else _asked()

    async def change(proof: Proof) -> None:
        await _change(old, new, proof)

    proven(change, mfa_code=mfa_code)
    click.echo("password changed", err=True)


def _asked() -> tuple[Secret, Secret]:
    old = ask_password("Old password", None, from_stdin=False)
    if not sys.stdin.isatty():
        raise CliError(
            "no new password",
            "standard input is not a terminal",
            "use --password-stdin with both, a line each",
            exit_code=EXIT_USAGE,
        )
    return old, confirm_new_password("New password")


def _from_stdin() -> tuple[Secret, Secret]:
    # Twice the longest password that is read, and some more.
    lines = sys.stdin.read(4096).splitlines()
    if len(lines) != 2 or not all(lines):
        raise CliError(
            "standard input cannot be used",
            f"it has {len(lines)} lines",
            "write the old password and the new one, a line each",
            exit_code=EXIT_USAGE,
        )
    return Secret(lines[0]), Secret(lines[1])


async def _change(old: Secret, new: Secret, proof: Proof) -> None:
    request = pb.ChangePasswordRequest(old_password=old.reveal(), new_password=new.reveal(), proof=proof)
    async with open_api() as hub:
        await hub.unary("/mezite.v1.AuthService/ChangePassword", request, pb.ChangePasswordResponse)
