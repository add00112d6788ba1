# SPDX-License-Identifier: Apache-2.0
"""`mezctl identities`: users that are programs."""

from __future__ import annotations

from typing import Any

import click

from mezite.api.pb.mezite.v1 import identities_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.mezctl.users import names_in, traits_in
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.durations import format_duration, parse_duration
from mezite.core.timestamps import format_timestamp

__all__ = ["identities"]

_SERVICE = "/mezite.v1.MachineIdentityService/"
_COLUMNS = (
    Column("name", "Name"),
    Column("roles", "Roles"),
    Column("max_ttl", "Certificates"),
    Column("generation", "Generation"),
    Column("renewed_at", "Renewed"),
    Column("renewed_from", "From"),
    Column("token_expires_at", "Token until"),
)

_TTL = click.option(
    "--ttl", default="1h", show_default=True, metavar="DURATION", help="How long the token can be used."
)


@click.group(cls=CommandGroup, help="Machine identities: users that are programs.")
def identities() -> None:
    """Group only."""


@identities.command(help="Create a machine identity and print its one-time token, alone on a line.")
@click.argument("name")
@click.option("--roles", required=True, metavar="A,B", help="Roles, comma-separated.")
@click.option("--traits", multiple=True, metavar="KEY=V1,V2", help="A trait, such as logins; repeatable.")
@click.option(
    "--max-ttl",
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="Life of its certificates, 5m to 24h.",
)
@_TTL
@format_option
@click.pass_context
def create(ctx: click.Context, /, name: str, roles: str, output_format: OutputFormat, **given: Any) -> None:
    """Create an identity."""
    request = pb.CreateIdentityRequest(
        name=name,
        roles=names_in(roles),
        traits=traits_in(given["traits"]),
        max_ttl_seconds=_seconds("--max-ttl", given["max_ttl"]),
        token_ttl_seconds=_seconds("--ttl", given["ttl"]),
    )
    _show_token(run_command(_create, auth_server(ctx), request), output_format)


@identities.command(help="Print another one-time token: for a new machine, or after a lock.")
@click.argument("name")
@_TTL
@format_option
@click.pass_context
def token(ctx: click.Context, name: str, ttl: str, output_format: OutputFormat) -> None:
    """Make a token in the place of one that was not used."""
    request = pb.CreateIdentityTokenRequest(name=name, token_ttl_seconds=_seconds("--ttl", ttl))
    _show_token(run_command(_token, auth_server(ctx), request), output_format)


@identities.command("ls", help="List machine identities and when they were last renewed.")
@format_option
@click.pass_context
def list_identities(ctx: click.Context, output_format: OutputFormat) -> None:
    """List identities by name."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(one) for one in listed.identities], _COLUMNS, output_format)


@identities.command("rm", help="Remove a machine identity; its certificates are good for nothing at once.")
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove one identity with the user that it is."""
    run_command(_remove, auth_server(ctx), name)
    click.echo(f"machine identity {name} removed")


def _seconds(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CliError(f"{option} cannot be read", str(error), exit_code=EXIT_USAGE) from None


def _show_token(created: pb.CreateIdentityResponse, output_format: OutputFormat) -> None:
    if output_format is OutputFormat.TEXT:
        click.echo(created.token)
    else:
        print_record({"token": created.token, **_row(created.identity)}, output_format)


async def _create(options: AuthServer, request: pb.CreateIdentityRequest) -> pb.CreateIdentityResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "CreateIdentity", request, pb.CreateIdentityResponse)


async def _token(options: AuthServer, request: pb.CreateIdentityTokenRequest) -> pb.CreateIdentityResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "CreateIdentityToken", request, pb.CreateIdentityResponse)


async def _list(options: AuthServer) -> pb.ListIdentitiesResponse:
    async with open_hub(options) as hub:
        return await hub.unary(
            _SERVICE + "ListIdentities", pb.ListIdentitiesRequest(), pb.ListIdentitiesResponse
        )


async def _remove(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(
            _SERVICE + "DeleteIdentity", pb.DeleteIdentityRequest(name=name), pb.DeleteIdentityResponse
        )


def _row(identity: pb.MachineIdentity) -> dict[str, object]:
    user = identity.user
    return {
        "name": user.name,
        "roles": list(user.roles),
        "traits": {name: list(values.values) for name, values in sorted(user.traits.items())},
        "max_ttl": format_duration(identity.max_ttl_seconds),
        "generation": identity.generation,
        "renewed_at": _time(identity.renewed_at_ms),
        "renewed_from": identity.renewed_from or None,
        "token_expires_at": _time(identity.token_expires_at_ms),
        "created_by": identity.created_by,
        "created_at": format_timestamp(user.created_at_ms),
    }


def _time(moment: int) -> str | None:
    return format_timestamp(moment) if moment else None
