# SPDX-License-Identifier: Apache-2.0
"""`mezctl connectors`: identity providers through which users sign in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mezite.api.pb.mezite.v1 import connectors_pb2 as pb
from mezite.cli.errors import run_command
from mezite.cli.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.mezctl import AuthServer, auth_server
from mezite.cli.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.timestamps import format_timestamp

__all__ = ["connectors"]

_SERVICE = "/mezite.v1.ConnectorService/"
_COLUMNS = (
    Column("name", "Name"),
    Column("kind", "Kind"),
    Column("issuer", "Issuer"),
    Column("display_name", "Shown as"),
    Column("updated_at", "Updated"),
)


@click.group(cls=CommandGroup, help="Single sign-on: identity providers.")
def connectors() -> None:
    """Group only."""


@connectors.command(help="Create a connector, or replace the one of that name.")
@click.option(
    "--from-file", "path", required=True, metavar="F", type=click.Path(path_type=Path), help="YAML."
)
@format_option
@click.pass_context
def create(ctx: click.Context, path: Path, output_format: OutputFormat) -> None:
    """Send a connector file that is valid."""
    # Reading the rules takes regular expressions, which take a moment to import; `--help` need not wait for it.
    from mezite.cli.connector_file import load_connector  # noqa: PLC0415
    from mezite.core.oidc.connector_document import connector_document  # noqa: PLC0415

    document = json.dumps(connector_document(load_connector(path), secret=True))
    answer = run_command(_put, auth_server(ctx), pb.PutConnectorRequest(document=document))
    if output_format is not OutputFormat.TEXT:
        print_record(_row(answer.connector) | {"created": answer.created}, output_format)
        return
    click.echo(f"connector {answer.connector.name} {'created' if answer.created else 'updated'}")
    for url in answer.connector.callback_urls:
        click.echo(f"callback URL to register at the provider: {url}", err=True)


@connectors.command("ls", help="List connectors.")
@format_option
@click.pass_context
def list_connectors(ctx: click.Context, output_format: OutputFormat) -> None:
    """List connectors by name."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(each) for each in listed.connectors], _COLUMNS, output_format)


@connectors.command(help="Show one connector, as YAML that `create` takes; the client secret is not shown.")
@click.argument("name")
@format_option
@click.pass_context
def get(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """Show the document of one connector."""
    document = json.loads(run_command(_get, auth_server(ctx), name).document)
    print_record(document, OutputFormat.YAML if output_format is OutputFormat.TEXT else output_format)


@connectors.command("delete", help="Delete a connector; its users stay, and cannot sign in through it.")
@click.argument("name")
@click.pass_context
def delete_connector(ctx: click.Context, name: str) -> None:
    """Delete one connector."""
    run_command(_delete, auth_server(ctx), name)
    click.echo(f"connector {name} deleted")


def _row(connector: pb.Connector) -> dict[str, object]:
    document: dict[str, Any] = json.loads(connector.document)
    spec = document["spec"]
    return {
        "name": connector.name,
        "kind": document["kind"],
        "issuer": spec.get("issuer") or spec.get("url"),
        "display_name": spec["display_name"],
        "has_secret": connector.has_secret,
        "callback_urls": list(connector.callback_urls),
        "created_at": format_timestamp(connector.created_at_ms),
        "updated_at": format_timestamp(connector.updated_at_ms),
        "spec": spec,
    }


async def _put(options: AuthServer, request: pb.PutConnectorRequest) -> pb.PutConnectorResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "PutConnector", request, pb.PutConnectorResponse)


async def _list(options: AuthServer) -> pb.ListConnectorsResponse:
    async with open_hub(options) as hub:
        return await hub.unary(
            _SERVICE + "ListConnectors", pb.ListConnectorsRequest(), pb.ListConnectorsResponse
        )


async def _get(options: AuthServer, name: str) -> pb.Connector:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "GetConnector", pb.GetConnectorRequest(name=name), pb.Connector)


async def _delete(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(
            _SERVICE + "DeleteConnector", pb.DeleteConnectorRequest(name=name), pb.DeleteConnectorResponse
        )
