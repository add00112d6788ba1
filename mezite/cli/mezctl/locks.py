# SPDX-License-Identifier: Apache-2.0
"""`mezctl locks`: what nobody may do for now, whatever their roles allow."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import locks_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.escapes import escape_controls
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.durations import parse_duration
from mezite.core.rbac.locks import LockTarget
from mezite.core.timestamps import format_timestamp

__all__ = ["locks"]

_SERVICE = "/mezite.v1.LockService/"
_COLUMNS = (
    Column("id", "Id"),
    Column("target", "On"),
    Column("name", "Name"),
    Column("message", "Message"),
    Column("created_by", "Created by"),
    Column("expires_at", "Expires"),
    Column("sessions_cut", "Sessions cut"),
    Column("slowest_ms", "Slowest (ms)"),
)


@click.group(cls=CommandGroup, help="Locks: stop somebody or something now.")
def locks() -> None:
    """Group only."""


@locks.command(help="Lock one thing; what runs on it is cut at once.")
@click.option("--user", metavar="NAME", help="Everything of a user.")
@click.option("--role", metavar="NAME", help="Everybody who has the role.")
@click.option("--node", metavar="NAME", help="Connections to a node.")
@click.option("--login", metavar="LOGIN", help="An account, on every node.")
@click.option("--agent", metavar="ID", help="An agent: its tunnel and its node.")
@click.option("--serial", metavar="NUMBER", help="The certificates of this serial.")
@click.option("--message", required=True, metavar="TEXT", help="Why, for those who are locked out.")
@click.option("--ttl", default="0s", metavar="DURATION", help="For how long.  [default: until it is lifted]")
@format_option
@click.pass_context
def create(ctx: click.Context, /, message: str, ttl: str, output_format: OutputFormat, **given: str) -> None:
    """Make a lock."""
    chosen = [(target, given[target.value]) for target in LockTarget if given[target.value] is not None]
    if len(chosen) != 1:
        options = ", ".join(f"--{target.value}" for target in LockTarget)
        raise CliError("a lock is on one thing", "", f"give one of {options}", exit_code=EXIT_USAGE)
    try:
        ttl_seconds = parse_duration(ttl)
    except ValueError as error:
        raise CliError("--ttl cannot be read", str(error), exit_code=EXIT_USAGE) from None
    ((target, name),) = chosen
    request = pb.CreateLockRequest(target=target.value, name=name, message=message, ttl_seconds=ttl_seconds)
    made = run_command(_create, auth_server(ctx), request)
    if made.warning:
        click.echo(escape_controls(f"warning: {made.warning}"), err=True)
    if output_format is not OutputFormat.TEXT:
        print_record(_row(made), output_format)
        return
    click.echo(f"lock {made.id} took effect on {_effect(made)}")


@locks.command("ls", help="List the locks in force.")
@format_option
@click.pass_context
def list_locks(ctx: click.Context, output_format: OutputFormat) -> None:
    """List locks, the oldest first."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(lock) for lock in listed.locks], _COLUMNS, output_format)


@locks.command("rm", help="Lift a lock.")
@click.argument("identifier", metavar="ID")
@click.pass_context
def remove(ctx: click.Context, identifier: str) -> None:
    """Lift one lock."""
    run_command(_remove, auth_server(ctx), identifier)
    click.echo(f"lock {identifier} lifted")


async def _create(options: AuthServer, request: pb.CreateLockRequest) -> pb.Lock:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "CreateLock", request, pb.Lock)


async def _list(options: AuthServer) -> pb.ListLocksResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "ListLocks", pb.ListLocksRequest(), pb.ListLocksResponse)


async def _remove(options: AuthServer, identifier: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(_SERVICE + "DeleteLock", pb.DeleteLockRequest(id=identifier), pb.DeleteLockResponse)


def _effect(lock: pb.Lock) -> str:
    """`41 sessions, slowest 380 ms`."""
    sessions = f"{lock.sessions_cut} session" + ("" if lock.sessions_cut == 1 else "s")
    cut = lock.sessions_cut or lock.connections_cut
    return f"{sessions}, slowest {lock.slowest_ms} ms" if cut else sessions


def _row(lock: pb.Lock) -> dict[str, object]:
    return {
        "id": lock.id,
        "target": lock.target,
        "name": lock.name,
        "message": lock.message,
        "created_by": lock.created_by,
        "created_at": format_timestamp(lock.created_at_ms),
        "expires_at": format_timestamp(lock.expires_at_ms) if lock.expires_at_ms else None,
        "sessions_cut": lock.sessions_cut,
        "connections_cut": lock.connections_cut,
        "slowest_ms": lock.slowest_ms,
    }
