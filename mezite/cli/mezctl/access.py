# SPDX-License-Identifier: Apache-2.0
"""`mezctl access`: why somebody may, or may not."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_record

__all__ = ["access"]


@click.group(cls=CommandGroup, help="Why somebody may, or may not.")
def access() -> None:
    """Group only."""


@access.command(
    help="Say whether a user may log in on a node or use an application, why, and what would change it.",
    short_help="Say who may log in or use what, and why.",
)
@click.option("--user", required=True, metavar="U", help="The user.")
@click.option("--node", default="", metavar="N", help="The node.")
@click.option("--login", default="", metavar="L", help="The account on the node.")
@click.option("--app", default="", metavar="A", help="The application, instead of a node and a login.")
@format_option
@click.pass_context
def explain(
    ctx: click.Context, user: str, node: str, login: str, app: str, output_format: OutputFormat
) -> None:
    """Print the decision and its ground; a denial is an answer too, and no failure."""
    if app and (node or login):
        raise click.UsageError("--app stands alone: an application has no node and no login")
    if not app and not (node and login):
        raise click.UsageError("give --node and --login, or --app")
    request = pb.ExplainAccessRequest(user=user, node=node, login=login, app=app)
    answer = run_command(_explain, auth_server(ctx), request)
    record = {
        "allowed": answer.allowed,
        "reason": answer.reason,
        "role": answer.role or None,
        "rule": answer.rule or None,
        "labels": dict(sorted(answer.labels.items())),
        "logins": {entry: list(values.logins) for entry, values in sorted(answer.logins.items())},
        "would_flip": answer.would_flip,
        "decision_id": answer.decision_id,
    }
    print_record(record, output_format)


async def _explain(options: AuthServer, request: pb.ExplainAccessRequest) -> pb.ExplainAccessResponse:
    async with open_hub(options) as hub:
        path = "/mezite.v1.AccessService/ExplainAccess"
        return await hub.unary(path, request, pb.ExplainAccessResponse)
