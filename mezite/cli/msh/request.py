# SPDX-License-Identifier: Apache-2.0
"""`msh request`: ask for roles and nodes for a while, and use what was approved."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

import attrs
import click
import trio
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from google.protobuf.message import Message

from mezite.api.client import ApiClient
from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.api.pb.mezite.v1 import requests_pb2 as pb
from mezite.cli.hub_client.granted_access import store_and_profile
from mezite.cli.hub_client.user_certificate import read_user_certificate
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_record, print_rows
from mezite.cli.terminal.request_rows import REQUEST_COLUMNS, request_row
from mezite.core.certificates.keys import check_public_key, public_key_pem
from mezite.core.certificates.openssh_key import public_line_of_private_key
from mezite.core.durations import parse_duration
from mezite.core.timestamps import format_timestamp

__all__ = ["request"]

_Answer = TypeVar("_Answer", bound=Message)

POLL_SECONDS = 2
"""How often --wait looks; people review, not machines."""

_format = format_option
_ttl = click.option(
    "--ttl", default="0s", metavar="DURATION", help="For how long.  [default: the longest allowed]"
)
_reason = click.option("--reason", required=True, metavar="TEXT", help="For the reviewers and the audit log.")
_wait = click.option("--wait", is_flag=True, help="Until it is decided; then use what was approved.")


@click.group(cls=CommandGroup, help="Ask for roles and nodes for a while.")
def request() -> None:
    """Group only."""


@request.command(help="Ask for roles or nodes; the clock starts when reviewers approve.")
@click.option("--roles", default="", metavar="A,B", help="Roles, comma-separated.")
@click.option("--nodes", default="", metavar="A,B", help="Nodes, comma-separated.")
@_reason
@_ttl
@_wait
@_format
def create(roles: str, nodes: str, reason: str, ttl: str, wait: bool, output_format: OutputFormat) -> int:
    """Make a request, and wait for it when that is wanted."""
    new = pb.CreateAccessRequestRequest(
        roles=_names(roles), nodes=_names(nodes), reason=reason, ttl_seconds=_seconds(ttl)
    )
    if not new.roles and not new.nodes:
        raise CliError("nothing to ask for", "", "give --roles or --nodes", exit_code=EXIT_USAGE)
    return _created(new, wait=wait, output_format=output_format)


@request.command(help="Ask for more time for what was approved.")
@click.argument("identifier", metavar="ID")
@_reason
@_ttl
@_wait
@_format
def extend(identifier: str, reason: str, ttl: str, wait: bool, output_format: OutputFormat) -> int:
    """Make a request that prolongs another."""
    new = pb.CreateAccessRequestRequest(extends=identifier, reason=reason, ttl_seconds=_seconds(ttl))
    return _created(new, wait=wait, output_format=output_format)


@request.command("ls", help="List your access requests, newest first.")
@_format
def list_requests(output_format: OutputFormat) -> None:
    """List the user's own requests."""
    _store, current, _profile = store_and_profile()
    listed = run_command(_list)
    rows = [request_row(each) for each in listed.requests if each.user_name == current.user]
    print_rows(rows, REQUEST_COLUMNS, output_format)


@request.command(help="Get certificates that are good for an approved request.")
@click.argument("identifier", metavar="ID")
def use(identifier: str) -> None:
    """Take approved access into use."""
    run_command(_take, identifier)


@request.command(help="Give up an access request: cancel a pending one, end approved access.")
@click.argument("identifier", metavar="ID")
def drop(identifier: str) -> None:
    """Withdraw one request, and stop using it."""
    ended = run_command(_drop, identifier)
    click.echo(f"request {ended.id} is {ended.state}")


def _created(new: pb.CreateAccessRequestRequest, *, wait: bool, output_format: OutputFormat) -> int:
    made = run_command(_create, new)
    if wait:
        click.echo(f"request {made.id} is {made.state}; waiting for reviewers", err=True)
        made = run_command(_decided, made)
        if made.state != "approved":
            why = made.closing_reason or "nobody gave a reason"
            raise CliError(f"request {made.id} is {made.state}", why)
        run_command(_take, made.id)
    if output_format is OutputFormat.TEXT:
        click.echo(f"request {made.id} is {made.state}")
    else:
        print_record(request_row(made), output_format)
    return 0


async def _create(new: pb.CreateAccessRequestRequest) -> pb.AccessRequest:
    async with open_api() as hub:
        return await _call(hub, "CreateAccessRequest", new, pb.AccessRequest)


async def _list() -> pb.ListAccessRequestsResponse:
    async with open_api() as hub:
        return await _call(
            hub, "ListAccessRequests", pb.ListAccessRequestsRequest(), pb.ListAccessRequestsResponse
        )


async def _decided(made: pb.AccessRequest) -> pb.AccessRequest:
    # A connection for each look: a wait of hours survives a hub that restarts between two of them.
    while made.state == "pending":
        await trio.sleep(POLL_SECONDS)
        async with open_api() as hub:
            asked = pb.GetAccessRequestRequest(id=made.id)
            made = await _call(hub, "GetAccessRequest", asked, pb.AccessRequest)
    return made


async def _drop(identifier: str) -> pb.AccessRequest:
    async with open_api() as hub:
        withdrawn = pb.WithdrawAccessRequestRequest(id=identifier)
        ended = await _call(hub, "WithdrawAccessRequest", withdrawn, pb.AccessRequest)
    store, current, profile = store_and_profile()
    using = read_user_certificate(profile).request_ids
    if identifier in using:
        rest = [one for one in using if one != identifier]
        store.end_granted(current)
        if rest:
            await _issue(rest)
    return ended


async def _take(identifier: str) -> None:
    """Use this request and those in use already, as far as they are still approved."""
    _store, current, profile = store_and_profile()
    using = read_user_certificate(profile).request_ids
    listed = await _list()
    approved = {
        each.id: each
        for each in listed.requests
        if each.state == "approved" and each.user_name == current.user
    }
    if identifier not in approved:
        raise CliError(
            f"request {identifier} cannot be used",
            "it is not an approved one of yours",
            "`msh request ls` shows their states",
        )
    # An extension takes the place of what it prolongs, or the certificate would end with that.
    wanted = ({*using, identifier} & approved.keys()) - {approved[identifier].extends}
    issued = await _issue(sorted(wanted))
    click.echo(f"granted until {format_timestamp(issued.expires_at_ms)}", err=True)
    click.echo(f"  roles   {', '.join(issued.roles) or 'none'}", err=True)
    click.echo(f"  logins  {', '.join(issued.logins) or 'none'}", err=True)


async def _issue(request_ids: Collection[str]) -> auth_pb2.IssueUserCertsResponse:
    """Have the profile's keys certified for these requests, with the certificate of the login: it lasts longer."""
    store, current, profile = store_and_profile()
    tls_key = load_pem_private_key(profile.tls_key, None).public_key()
    asked = auth_pb2.IssueUserCertsRequest(
        ssh_public_key=public_line_of_private_key(profile.ssh_key),
        tls_public_key_pem=public_key_pem(check_public_key(tls_key)).decode(),
        request_ids=request_ids,
    )
    async with open_api(ordinary=True) as hub:
        issued = await hub.unary(
            "/mezite.v1.AuthService/IssueUserCerts", asked, auth_pb2.IssueUserCertsResponse
        )
    granted = attrs.evolve(
        profile,
        ssh_certificate=f"{issued.ssh_certificate}\n".encode(),
        tls_certificate=issued.tls_certificate_pem.encode(),
    )
    store.use_granted(current, granted)
    return issued


async def _call(hub: ApiClient, name: str, asked: Message, answer: type[_Answer]) -> _Answer:
    return await hub.unary(f"/mezite.v1.AccessRequestService/{name}", asked, answer)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _seconds(text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise CliError("--ttl cannot be read", str(error), exit_code=EXIT_USAGE) from None
