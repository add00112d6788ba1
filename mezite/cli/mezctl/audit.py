# SPDX-License-Identifier: Apache-2.0
"""`mezctl audit`: what happened."""

from __future__ import annotations

import json
import time

import click

from mezite.api.pb.mezite.v1 import audit_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_rows
from mezite.core.durations import parse_duration
from mezite.core.timestamps import parse_timestamp

__all__ = ["audit"]

_COLUMNS = (
    Column("timestamp", "Time"),
    Column("event_type", "Event"),
    Column("user_name", "User"),
    Column("resource_name", "Resource"),
    Column("client_ip", "Client"),
    Column("success", "OK"),
    Column("error_message", "Error"),
)


@click.group(cls=CommandGroup, help="What happened.")
def audit() -> None:
    """Group only."""


@audit.command("ls", help="List audit events, newest first.")
@click.option(
    "--type", "event_type", default="", metavar="TYPE", help="Only this type, such as session.start."
)
@click.option("--user", default="", metavar="NAME", help="Only events of this user.")
@click.option("--since", metavar="WHEN", help="A duration back from now (10m) or an RFC 3339 time.")
@click.option("--until", metavar="WHEN", help="The same; events before it.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="At most so many."
)
@format_option
@click.pass_context
def list_events(
    ctx: click.Context, /, output_format: OutputFormat, limit: int, **filters: str | None
) -> None:
    """List events."""
    request = pb.ListAuditEventsRequest(
        event_type=filters["event_type"] or "",
        user_name=filters["user"] or "",
        since_ms=_moment("--since", filters["since"]),
        until_ms=_moment("--until", filters["until"]),
        limit=limit,
    )
    answer = run_command(_list, auth_server(ctx), request)
    print_rows([json.loads(event) for event in answer.events_json], _COLUMNS, output_format)


async def _list(options: AuthServer, request: pb.ListAuditEventsRequest) -> pb.ListAuditEventsResponse:
    async with open_hub(options) as hub:
        return await hub.unary("/mezite.v1.AuditService/ListAuditEvents", request, pb.ListAuditEventsResponse)


def _moment(option: str, text: str | None) -> int:
    """Milliseconds since 1970 of a duration before now or of a time; 0 for no limit."""
    if text is None:
        return 0
    try:
        return time.time_ns() // 1_000_000 - parse_duration(text) * 1000
    except ValueError:
        pass
    try:
        return parse_timestamp(text)
    except ValueError as error:
        raise CliError(
            f"{option} cannot be read",
            str(error),
            "write a duration such as 10m or a time",
            exit_code=EXIT_USAGE,
        ) from None
