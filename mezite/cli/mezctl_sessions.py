# SPDX-License-Identifier: Apache-2.0
"""`mezctl sessions`: SSH sessions on nodes, on all hubs."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import sessions_pb2 as pb
from mezite.cli.errors import run_command
from mezite.cli.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.mezctl import AuthServer, auth_server
from mezite.cli.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.timestamps import format_timestamp

__all__ = ["sessions"]

_SERVICE = "/mezite.v1.SessionService/"
_COLUMNS = (
    Column("id", "Id"),
    Column("user", "User"),
    Column("login", "Login"),
    Column("node", "Node"),
    Column("kind", "Kind"),
    Column("client_ip", "From"),
    Column("started_at", "Since"),
)


@click.group(cls=CommandGroup, help="Live SSH sessions, on all hubs.")
def sessions() -> None:
    """Group only."""


@sessions.command("ls", help="List live sessions.")
@format_option
@click.pass_context
def list_sessions(ctx: click.Context, output_format: OutputFormat) -> None:
    """List sessions, newest first."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(session) for session in listed.sessions], _COLUMNS, output_format)


@sessions.command(help="Show one session, live or over.")
@click.argument("identifier", metavar="ID")
@format_option
@click.pass_context
def get(ctx: click.Context, identifier: str, output_format: OutputFormat) -> None:
    """Show one session."""
    print_record(_row(run_command(_get, auth_server(ctx), identifier)), output_format)


@sessions.command(help="End a session and the SSH connection that it is part of.")
@click.argument("identifier", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the user and the audit log.")
@click.pass_context
def kill(ctx: click.Context, identifier: str, reason: str) -> None:
    """End one session."""
    ended = run_command(_kill, auth_server(ctx), identifier, reason)
    click.echo(f"session {identifier} of {ended.user_name} on {ended.node_name} is being ended")


async def _list(options: AuthServer) -> pb.ListSessionsResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "ListSessions", pb.ListSessionsRequest(), pb.ListSessionsResponse)


async def _get(options: AuthServer, identifier: str) -> pb.Session:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "GetSession", pb.GetSessionRequest(id=identifier), pb.Session)


async def _kill(options: AuthServer, identifier: str, reason: str) -> pb.Session:
    async with open_hub(options) as hub:
        request = pb.KillSessionRequest(id=identifier, reason=reason)
        return await hub.unary(_SERVICE + "KillSession", request, pb.Session)


def _row(session: pb.Session) -> dict[str, object]:
    return {
        "id": session.id,
        "user": session.user_name,
        "login": session.login,
        "node": session.node_name,
        "kind": session.kind,
        "client_ip": session.client_ip,
        "started_at": format_timestamp(session.started_at_ms),
        "ended_at": format_timestamp(session.ended_at_ms) if session.ended_at_ms else None,
        "hub_id": session.hub_id,
        "connection_id": session.connection_id,
        "killed_by": session.killed_by or None,
        "kill_reason": session.kill_reason or None,
    }
