# SPDX-License-Identifier: Apache-2.0
"""`mezctl requests`: look at access requests, and say yes or no."""

from __future__ import annotations

from typing import TypeVar

import click
from google.protobuf.message import Message

from mezite.api.pb.mezite.v1 import requests_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_record, print_rows
from mezite.cli.terminal.request_rows import REQUEST_COLUMNS, request_row

__all__ = ["requests"]

_Answer = TypeVar("_Answer", bound=Message)


@click.group(cls=CommandGroup, help="Access requests: roles and nodes for a while.")
def requests() -> None:
    """Group only."""


@requests.command("ls", help="List access requests, newest first: your own and those that you may review.")
@click.option("--state", default="", metavar="STATE", help="Only pending, approved, denied and so on.")
@format_option
@click.pass_context
def list_requests(ctx: click.Context, state: str, output_format: OutputFormat) -> None:
    """List requests."""
    request = pb.ListAccessRequestsRequest(state=state)
    listed = run_command(_call, auth_server(ctx), "List", request, pb.ListAccessRequestsResponse)
    print_rows([request_row(each) for each in listed.requests], REQUEST_COLUMNS, output_format)


@requests.command(help="Show one access request with what reviewers said.")
@click.argument("identifier", metavar="ID")
@format_option
@click.pass_context
def get(ctx: click.Context, identifier: str, output_format: OutputFormat) -> None:
    """Show one request."""
    request = pb.GetAccessRequestRequest(id=identifier)
    found = run_command(_call, auth_server(ctx), "Get", request, pb.AccessRequest)
    print_record(request_row(found), output_format)


@requests.command(
    help="Approve an access request; the granted time starts with the last approval needed.",
    short_help="Approve an access request.",
)
@click.argument("identifier", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="For the requester and the audit log.")
@click.pass_context
def approve(ctx: click.Context, identifier: str, reason: str) -> None:
    """Approve one request."""
    request = pb.ReviewAccessRequestRequest(id=identifier, approve=True, reason=reason)
    reviewed = run_command(_call, auth_server(ctx), "Review", request, pb.AccessRequest)
    waits = "" if reviewed.state == "approved" else "; other reviewers are needed too"
    click.echo(f"request {reviewed.id} is {reviewed.state}{waits}")


@requests.command(help="Deny an access request.")
@click.argument("identifier", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="For the requester and the audit log.")
@click.pass_context
def deny(ctx: click.Context, identifier: str, reason: str) -> None:
    """Deny one request."""
    request = pb.ReviewAccessRequestRequest(id=identifier, approve=False, reason=reason)
    reviewed = run_command(_call, auth_server(ctx), "Review", request, pb.AccessRequest)
    click.echo(f"request {reviewed.id} is {reviewed.state}")


@requests.command(help="Take back approved access, or cancel a pending request.")
@click.argument("identifier", metavar="ID")
@click.option("--reason", default="", metavar="TEXT", help="For the requester and the audit log.")
@click.pass_context
def revoke(ctx: click.Context, identifier: str, reason: str) -> None:
    """Revoke one request."""
    request = pb.WithdrawAccessRequestRequest(id=identifier, reason=reason)
    ended = run_command(_call, auth_server(ctx), "Withdraw", request, pb.AccessRequest)
    click.echo(f"request {ended.id} is {ended.state}")


async def _call(options: AuthServer, verb: str, request: Message, answer: type[_Answer]) -> _Answer:
    what = "AccessRequests" if verb == "List" else "AccessRequest"
    async with open_hub(options) as hub:
        return await hub.unary(f"/mezite.v1.AccessRequestService/{verb}{what}", request, answer)
