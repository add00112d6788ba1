# SPDX-License-Identifier: Apache-2.0
"""`mezctl login`: a password in, a session token out, and nothing else on stdout."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.hub_client.second_factor import ask_code, code_field, mfa_code_option, needed_factors
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.prompts import ask_password, password_options
from mezite.core.secret import Secret

__all__ = ["login"]


@click.command(help="Print a session token, for MEZITE_AUTH_TOKEN.")
@click.option("--auth-server", "server", metavar="HOST:PORT", help="The hub's gRPC address.")
@click.option("--username", "--user", metavar="NAME", prompt="User name", help="Who logs in.")
@password_options
@mfa_code_option
@click.pass_context
def login(
    ctx: click.Context,
    server: str | None,
    username: str,
    password: str | None,
    password_stdin: bool,
    mfa_code: str,
) -> None:
    """Ask for what is missing, then log in."""
    options = _options(ctx, server)
    secret = ask_password(f"Password of {username}", password, from_stdin=password_stdin)
    try:
        token = run_command(_login, options, username, secret, mfa_code)
    except CliError as error:
        factors = needed_factors(error)
        if not factors:
            raise
        token = run_command(_login, options, username, secret, ask_code(factors).reveal())
    click.echo(token)


def _options(ctx: click.Context, address: str | None) -> AuthServer:
    options = auth_server(ctx)
    if address is None:
        return options
    return AuthServer(
        address=address,
        address_given=True,
        ca_pin=options.ca_pin,
        ca_file=options.ca_file,
        plaintext=options.plaintext,
    )


async def _login(options: AuthServer, username: str, password: Secret, mfa_code: str) -> str:
    async with open_hub(options, credential=False) as hub:
        answer = await hub.unary(
            "/mezite.v1.AuthService/AuthenticateLocal",
            auth_pb2.AuthenticateLocalRequest(
                username=username, password=password.reveal(), **code_field(mfa_code)
            ),
            auth_pb2.AuthenticateLocalResponse,
        )
    return answer.session_token
