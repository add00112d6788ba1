# SPDX-License-Identifier: Apache-2.0
"""`mezctl sessions`: SSH sessions on nodes, on all hubs, and sessions of browsers and programs."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import sessions_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
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
_LOGIN_COLUMNS = (
    Column("id", "Id"),
    Column("user", "User"),
    Column("kind", "Kind"),
    Column("host", "Application"),
    Column("client_ip", "From"),
    Column("started_at", "Since"),
    Column("expires_at", "Until"),
)


@click.group(cls=CommandGroup, help="Live sessions, on all hubs: SSH, and logins of browsers and programs.")
def sessions() -> None:
    """Group only."""


@sessions.command("ls", help="List live SSH sessions, or with --logins those of browsers and programs.")
@click.option("--logins", is_flag=True, help="Web, API and application sessions instead.")
@click.option("--user", metavar="NAME", default="", help="With --logins: of this user only.")
@format_option
@click.pass_context
def list_sessions(ctx: click.Context, logins: bool, user: str, output_format: OutputFormat) -> None:
    """List sessions, newest first."""
    if logins:
        found = run_command(_list_logins, auth_server(ctx), user)
        print_rows([_login_row(session) for session in found.sessions], _LOGIN_COLUMNS, output_format)
        return
    if user:
        raise CliError("--user goes with --logins only", exit_code=EXIT_USAGE)
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


@sessions.command(help="End a web, API or application session; certificates stay good until they end.")
@click.argument("identifier", metavar="ID")
@click.pass_context
def revoke(ctx: click.Context, identifier: str) -> None:
    """End one login."""
    ended = run_command(_revoke, auth_server(ctx), identifier)
    where = f" at {ended.host}" if ended.host else ""
    click.echo(f"session {identifier} of {ended.user_name}{where} has ended")


async def _list_logins(options: AuthServer, user: str) -> pb.ListLoginSessionsResponse:
    async with open_hub(options) as hub:
        request = pb.ListLoginSessionsRequest(user_name=user)
        return await hub.unary(_SERVICE + "ListLoginSessions", request, pb.ListLoginSessionsResponse)


async def _revoke(options: AuthServer, identifier: str) -> pb.LoginSession:
    async with open_hub(options) as hub:
        request = pb.RevokeSessionRequest(id=identifier)
        return await hub.unary(_SERVICE + "RevokeSession", request, pb.LoginSession)


def _login_row(session: pb.LoginSession) -> dict[str, object]:
    return {
        "id": session.id,
        "user": session.user_name,
        "kind": session.kind,
        "host": session.host or None,
        "client_ip": session.client_ip,
        "started_at": format_timestamp(session.created_at_ms),
        "expires_at": format_timestamp(session.expires_at_ms),
    }


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
