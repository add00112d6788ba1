# SPDX-License-Identifier: Apache-2.0
"""`mezctl tokens`: join tokens for agents."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import tokens_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.durations import parse_duration
from mezite.core.labels import InvalidLabelsError, parse_labels
from mezite.core.timestamps import format_timestamp

__all__ = ["tokens"]

_SERVICE = "/mezite.v1.TokenService/"
_COLUMNS = (
    Column("id", "Id"),
    Column("roles", "Roles"),
    Column("labels", "Labels"),
    Column("expires_at", "Expires"),
    Column("used_at", "Used"),
    Column("created_by", "Created by"),
)


@click.group(cls=CommandGroup, help="Join tokens for agents.")
def tokens() -> None:
    """Group only."""


@tokens.command(help="Create a join token and print it, alone on a line.")
@click.option("--roles", default="node", show_default=True, metavar="ROLE", help="What the token is for.")
@click.option("--ttl", default="1h", show_default=True, metavar="DURATION", help="How long it can be used.")
@click.option("--labels", default="", metavar="K=V,K=V", help="Labels the node will have, whatever it says.")
@format_option
@click.pass_context
def create(ctx: click.Context, roles: str, ttl: str, labels: str, output_format: OutputFormat) -> None:
    """Create a token."""
    if "identity" in roles.split(","):
        raise CliError(
            "a join token is for a node",
            "",
            "`mezctl identities create NAME --roles=...` makes a machine identity and its token",
            exit_code=EXIT_USAGE,
        )
    try:
        request = pb.CreateJoinTokenRequest(
            roles=roles.split(","), ttl_seconds=parse_duration(ttl), labels=parse_labels(labels)
        )
    except InvalidLabelsError as error:
        raise CliError("--labels cannot be read", str(error), exit_code=EXIT_USAGE) from None
    except ValueError as error:
        raise CliError("--ttl cannot be read", str(error), exit_code=EXIT_USAGE) from None
    created = run_command(_create, auth_server(ctx), request)
    if output_format is OutputFormat.TEXT:
        click.echo(created.token)
    else:
        print_record({"token": created.token, **_row(created.record)}, output_format)


@tokens.command("ls", help="List join tokens; the secrets themselves are not kept.")
@format_option
@click.pass_context
def list_tokens(ctx: click.Context, output_format: OutputFormat) -> None:
    """List tokens, newest first."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(token) for token in listed.tokens], _COLUMNS, output_format)


@tokens.command("rm", help="Remove a join token by the beginning of its id.")
@click.argument("identifier", metavar="ID")
@click.pass_context
def remove(ctx: click.Context, identifier: str) -> None:
    """Remove one token."""
    run_command(_remove, auth_server(ctx), identifier)
    click.echo(f"join token {identifier} removed")


async def _create(options: AuthServer, request: pb.CreateJoinTokenRequest) -> pb.CreateJoinTokenResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "CreateJoinToken", request, pb.CreateJoinTokenResponse)


async def _list(options: AuthServer) -> pb.ListJoinTokensResponse:
    async with open_hub(options) as hub:
        return await hub.unary(
            _SERVICE + "ListJoinTokens", pb.ListJoinTokensRequest(), pb.ListJoinTokensResponse
        )


async def _remove(options: AuthServer, identifier: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(
            _SERVICE + "DeleteJoinToken", pb.DeleteJoinTokenRequest(id=identifier), pb.DeleteJoinTokenResponse
        )


def _row(token: pb.JoinToken) -> dict[str, object]:
    return {
        "id": token.id,
        "roles": list(token.roles),
        "labels": dict(sorted(token.labels.items())),
        "created_by": token.created_by,
        "created_at": format_timestamp(token.created_at_ms),
        "expires_at": format_timestamp(token.expires_at_ms),
        "used_at": format_timestamp(token.used_at_ms) if token.used_at_ms else None,
        "used_by": token.used_by or None,
    }
