# SPDX-License-Identifier: Apache-2.0
"""What `mezctl users` does with second factors. Nobody but the users themselves can add one."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import factors_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.terminal.errors import run_command
from mezite.cli.terminal.factor_rows import FACTOR_COLUMNS, factor_rows, factors_page
from mezite.cli.terminal.output import OutputFormat, format_option, print_record, print_rows

__all__ = ["MFA_COMMANDS"]

_SERVICE = "/mezite.v1.FactorService/"

_HOW = {
    "totp": "log in with `msh login`, run `msh mfa add` and scan what it shows; or open",
    "webauthn": "have the security key at hand and open",
}


@click.command("list-mfa", help="List a user's second factors.")
@click.argument("name")
@format_option
@click.pass_context
def list_mfa(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """List them, oldest first."""
    listed = run_command(_list, auth_server(ctx), name)
    print_rows(factor_rows(listed), FACTOR_COLUMNS, output_format)
    if output_format is OutputFormat.TEXT and listed.factors:
        click.echo(f"{listed.recovery_codes_left} recovery codes left", err=True)


@click.command("add-mfa", help="Print how a user adds a second factor.")
@click.argument("name")
@click.option(
    "--type", "kind", type=click.Choice(["webauthn", "totp"]), required=True, help="What is to be added."
)
@format_option
@click.pass_context
def add_mfa(ctx: click.Context, name: str, kind: str, output_format: OutputFormat) -> None:
    """Print what to tell the user: nobody else may hold the secret."""
    url = factors_page(run_command(_list, auth_server(ctx), name))
    if output_format is not OutputFormat.TEXT:
        print_record({"user": name, "type": kind, "url": url}, output_format)
        return
    click.echo(f"{name} adds it: {_HOW[kind]}\n{url}")


def _reset(command: str, kind: str, what: str) -> click.Command:
    @click.command(command, help=f"Remove all {what} of a user who has lost them.")
    @click.argument("name")
    @click.pass_context
    def reset(ctx: click.Context, name: str) -> None:
        removed = run_command(_reset_kind, auth_server(ctx), name, kind)
        click.echo(f"removed {removed} {what} of {name}")

    return reset


MFA_COMMANDS = (
    list_mfa,
    add_mfa,
    _reset("reset-totp", "totp", "authenticator apps"),
    _reset("reset-webauthn", "webauthn", "security keys"),
)


async def _list(options: AuthServer, name: str) -> pb.ListFactorsResponse:
    async with open_hub(options) as hub:
        request = pb.ListUserFactorsRequest(user_name=name)
        return await hub.unary(_SERVICE + "ListUserFactors", request, pb.ListFactorsResponse)


async def _reset_kind(options: AuthServer, name: str, kind: str) -> int:
    async with open_hub(options) as hub:
        request = pb.ResetUserFactorsRequest(user_name=name, kind=kind)
        answer = await hub.unary(_SERVICE + "ResetUserFactors", request, pb.ResetUserFactorsResponse)
    return answer.removed
