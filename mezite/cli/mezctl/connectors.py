# SPDX-License-Identifier: Apache-2.0
"""`mezctl connectors`: identity providers through which users sign in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TextIO

import click

from mezite.api.pb.mezite.v1 import connectors_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.escapes import escape_controls
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.timestamps import format_timestamp

__all__ = ["connectors"]

MAX_CLAIMS = 64 * 1024
"""Characters; the hub reads no more."""

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
    from mezite.cli.mezctl.connector_file import load_connector  # noqa: PLC0415
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


@connectors.command(
    help="Show one connector, as YAML that `create` takes; the client secret is not shown.",
    short_help="Show one connector, as YAML that `create` takes.",
)
@click.argument("name")
@format_option
@click.pass_context
def get(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """Show the document of one connector."""
    document = json.loads(run_command(_get, auth_server(ctx), name).document)
    print_record(document, OutputFormat.YAML if output_format is OutputFormat.TEXT else output_format)


@connectors.command(help="Try a connector: discovery, keys, and what claims would map to.")
@click.argument("name")
@click.option(
    "--claims",
    metavar="FILE",
    type=click.File(encoding="utf-8"),
    help="JSON, as the provider says them; - is stdin.",
)
@format_option
@click.pass_context
def test(ctx: click.Context, name: str, claims: TextIO | None, output_format: OutputFormat) -> None:
    """Print each step; the command fails with the first that does."""
    text = "" if claims is None else claims.read(MAX_CLAIMS)
    answer = run_command(_test, auth_server(ctx), pb.TestConnectorRequest(name=name, claims=text))
    steps = [{"name": step.name, "passed": step.passed, "detail": step.detail} for step in answer.steps]
    if output_format is not OutputFormat.TEXT:
        record = {
            "steps": steps,
            "authorization_url": answer.authorization_url,
            "user": answer.user or None,
            "roles": list(answer.roles),
            "traits": {key: list(values.values) for key, values in sorted(answer.traits.items())},
        }
        print_record(record, output_format)
    else:
        _print_steps(answer)
    if not all(step.passed for step in answer.steps):
        raise CliError(f"connector {name}", f"{answer.steps[-1].name} failed", "see above")


def _print_steps(answer: pb.TestConnectorResponse) -> None:
    for step in answer.steps:
        click.echo(f"{'ok' if step.passed else 'FAILED'}: {step.name}: {escape_controls(step.detail)}")
    if answer.authorization_url:
        click.echo(f"a browser would go to\n  {escape_controls(answer.authorization_url)}")
    for key, values in sorted(answer.traits.items()):
        click.echo(f"trait {key}: {escape_controls(', '.join(values.values))}")


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


async def _test(options: AuthServer, request: pb.TestConnectorRequest) -> pb.TestConnectorResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "TestConnector", request, pb.TestConnectorResponse)


async def _delete(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(
            _SERVICE + "DeleteConnector", pb.DeleteConnectorRequest(name=name), pb.DeleteConnectorResponse
        )
