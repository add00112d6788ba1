# SPDX-License-Identifier: Apache-2.0
"""`msh ls`: the nodes the user may reach."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.node_rows import NODE_COLUMNS, node_row
from mezite.cli.terminal.output import OutputFormat, format_option, print_rows
from mezite.core.labels import InvalidLabelsError, parse_labels

__all__ = ["ls"]


@click.command(help="List the nodes you may reach, with the logins allowed there.")
@click.option("--labels", default="", metavar="K=V,K=V", help="Only nodes with all of these.")
@click.option("--search", default="", metavar="TEXT", help="Only nodes with this in their name or labels.")
@format_option
def ls(labels: str, search: str, output_format: OutputFormat) -> None:
    """List nodes by name."""
    try:
        request = pb.ListNodesRequest(labels=parse_labels(labels), search=search)
    except InvalidLabelsError as error:
        raise CliError("--labels cannot be read", str(error), exit_code=EXIT_USAGE) from None
    answer = run_command(_list, request)
    print_rows([node_row(node) for node in answer.nodes], NODE_COLUMNS, output_format)


async def _list(request: pb.ListNodesRequest) -> pb.ListNodesResponse:
    async with open_api() as hub:
        return await hub.unary("/mezite.v1.NodeService/ListNodes", request, pb.ListNodesResponse)
