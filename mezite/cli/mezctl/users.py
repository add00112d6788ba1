# SPDX-License-Identifier: Apache-2.0
"""`mezctl users`: local users."""

from __future__ import annotations

from collections.abc import Iterable

import click

from mezite.api.pb.mezite.v1 import users_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.mezctl.mfa import MFA_COMMANDS
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.cli.terminal.prompts import given_password, password_options
from mezite.core.timestamps import format_timestamp

__all__ = ["names_in", "traits_in", "users"]

_SERVICE = "/mezite.v1.UserService/"
_COLUMNS = (
    Column("name", "Name"),
    Column("roles", "Roles"),
    Column("traits", "Traits"),
    Column("connector", "Connector"),
    Column("created_at", "Created"),
)


@click.group(cls=CommandGroup, help="Local users.")
def users() -> None:
    """Group only."""


@users.command(help="Create a user; without a password an invite URL is printed.")
@click.argument("name")
@click.option("--roles", required=True, metavar="A,B", help="Roles, comma-separated.")
@click.option("--traits", multiple=True, metavar="KEY=V1,V2", help="A trait; repeatable.")
@password_options
@format_option
@click.pass_context
def create(
    ctx: click.Context, /, name: str, roles: str, output_format: OutputFormat, **given: object
) -> None:
    """Create a user."""
    secret = given_password(given["password"], from_stdin=bool(given["password_stdin"]), environ={})  # type: ignore[arg-type]
    request = pb.CreateUserRequest(
        name=name,
        roles=names_in(roles),
        traits=traits_in(given["traits"]),  # type: ignore[arg-type]
        password="" if secret is None else secret.reveal(),
    )
    created = run_command(_create, auth_server(ctx), request)
    record = _row(created.user)
    if created.invite_url:
        record |= {
            "invite_url": created.invite_url,
            "invite_expires_at": format_timestamp(created.invite_expires_at_ms),
        }
    if output_format is not OutputFormat.TEXT:
        print_record(record, output_format)
        return
    click.echo(f"user {created.user.name} created")
    if created.invite_url:
        click.echo(f"invite (valid until {record['invite_expires_at']}, once):\n{created.invite_url}")


@users.command("ls", help="List users.")
@format_option
@click.pass_context
def list_users(ctx: click.Context, output_format: OutputFormat) -> None:
    """List users by name."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(user) for user in listed.users], _COLUMNS, output_format)


@users.command(help="Show one user.")
@click.argument("name")
@format_option
@click.pass_context
def get(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """Show one user."""
    print_record(_row(run_command(_get, auth_server(ctx), name)), output_format)


@users.command(help="Change roles, traits or the password of a user.")
@click.argument("name")
@click.option("--roles", metavar="A,B", help="Replaces all roles.")
@click.option("--traits", multiple=True, metavar="KEY=V1,V2", help="Replaces all traits; repeatable.")
@password_options
@format_option
@click.pass_context
def update(
    ctx: click.Context,
    /,
    name: str,
    roles: str | None,
    traits: tuple[str, ...],
    output_format: OutputFormat,
    **given: object,
) -> None:
    """Change what is given; the rest stays."""
    secret = given_password(given["password"], from_stdin=bool(given["password_stdin"]), environ={})  # type: ignore[arg-type]
    if roles is None and not traits and secret is None:
        raise CliError(
            "nothing to change", "", "give --roles, --traits or --password-stdin", exit_code=EXIT_USAGE
        )
    request = pb.UpdateUserRequest(
        name=name,
        set_roles=roles is not None,
        roles=names_in(roles or ""),
        set_traits=bool(traits),
        traits=traits_in(traits),
        password="" if secret is None else secret.reveal(),
    )
    print_record(_row(run_command(_update, auth_server(ctx), request)), output_format)


@users.command("delete", help="Delete a user with all sessions.")
@click.argument("name", required=False)
@click.option("--username", metavar="NAME", help="The same as the argument.")
@click.pass_context
def delete_user(ctx: click.Context, name: str | None, username: str | None) -> None:
    """Delete one user."""
    chosen = name or username
    if chosen is None or (name and username and name != username):
        raise click.UsageError("name one user, as an argument or with --username", ctx)
    run_command(_delete, auth_server(ctx), chosen)
    click.echo(f"user {chosen} deleted")


for _command in MFA_COMMANDS:
    users.add_command(_command)


async def _create(options: AuthServer, request: pb.CreateUserRequest) -> pb.CreateUserResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "CreateUser", request, pb.CreateUserResponse)


async def _list(options: AuthServer) -> pb.ListUsersResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "ListUsers", pb.ListUsersRequest(), pb.ListUsersResponse)


async def _get(options: AuthServer, name: str) -> pb.User:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "GetUser", pb.GetUserRequest(name=name), pb.User)


async def _update(options: AuthServer, request: pb.UpdateUserRequest) -> pb.User:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "UpdateUser", request, pb.User)


async def _delete(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(_SERVICE + "DeleteUser", pb.DeleteUserRequest(name=name), pb.DeleteUserResponse)


def _row(user: pb.User) -> dict[str, object]:
    return {
        "name": user.name,
        "roles": list(user.roles),
        "traits": {name: list(values.values) for name, values in sorted(user.traits.items())},
        "created_at": format_timestamp(user.created_at_ms),
        "updated_at": format_timestamp(user.updated_at_ms),
        "has_password": user.has_password,
        "disabled": user.disabled,
        "connector": user.origin or None,
        "mfa": {
            "totp": user.factors.totp,
            "webauthn": user.factors.webauthn,
            "recovery_codes": user.factors.recovery_codes,
        },
    }


def names_in(text: str) -> list[str]:
    """Return the names of a comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def traits_in(entries: Iterable[str]) -> dict[str, pb.TraitValues]:
    """Return the traits of `KEY=V1,V2` options. :raises CliError: one cannot be read."""
    traits: dict[str, pb.TraitValues] = {}
    for entry in entries:
        key, equals, values = entry.partition("=")
        if not equals or not key.strip():
            raise CliError(
                f"trait {entry!r} cannot be read", "", "write KEY=VALUE,VALUE", exit_code=EXIT_USAGE
            )
        traits[key.strip()] = pb.TraitValues(values=names_in(values))
    return traits
