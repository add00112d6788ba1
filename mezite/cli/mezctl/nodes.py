# SPDX-License-Identifier: Apache-2.0
"""`mezctl nodes`: the nodes of the cluster."""

from __future__ import annotations

import click

from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.node_rows import NODE_COLUMNS, node_row
from mezite.cli.terminal.output import OutputFormat, format_option, print_record, print_rows
from mezite.core.labels import InvalidLabelsError, parse_labels

__all__ = ["nodes"]

_SERVICE = "/mezite.v1.NodeService/"


@click.group(cls=CommandGroup, help="Nodes of the cluster.")
def nodes() -> None:
    """Group only."""


@nodes.command("ls", help="List nodes.")
@click.option("--labels", default="", metavar="K=V,K=V", help="Only nodes with all of these.")
@click.option("--search", default="", metavar="TEXT", help="Only nodes with this in their name or labels.")
@format_option
@click.pass_context
def list_nodes(ctx: click.Context, labels: str, search: str, output_format: OutputFormat) -> None:
    """List nodes by name."""
    try:
        request = pb.ListNodesRequest(labels=parse_labels(labels), search=search)
    except InvalidLabelsError as error:
        raise CliError("--labels cannot be read", str(error), exit_code=EXIT_USAGE) from None
    listed = run_command(_list, auth_server(ctx), request)
    print_rows([node_row(node) for node in listed.nodes], NODE_COLUMNS, output_format)


@nodes.command(help="Show one node.")
@click.argument("name")
@format_option
@click.pass_context
def get(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """Show one node."""
    print_record(node_row(run_command(_get, auth_server(ctx), name)), output_format)


@nodes.command("rm", help="Forget a node; its agent must join again.")
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Forget one node."""
    run_command(_remove, auth_server(ctx), name)
    click.echo(f"node {name} removed")


async def _list(options: AuthServer, request: pb.ListNodesRequest) -> pb.ListNodesResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "ListNodes", request, pb.ListNodesResponse)


async def _get(options: AuthServer, name: str) -> pb.Node:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "GetNode", pb.GetNodeRequest(name=name), pb.Node)


async def _remove(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(_SERVICE + "RemoveNode", pb.RemoveNodeRequest(name=name), pb.RemoveNodeResponse)
