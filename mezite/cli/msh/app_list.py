# SPDX-License-Identifier: Apache-2.0
"""`msh app ls` and `msh app open`: what the user may use, and where browsers find it."""

from __future__ import annotations

import os
import webbrowser

import click

from mezite.api.pb.mezite.v1 import apps_pb2 as pb
from mezite.cli.hub_client.sso_sign_in import has_browser
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_rows

__all__ = ["ls", "open_app"]

COLUMNS = (
    Column("name", "Name"),
    Column("status", "Status"),
    Column("protocol", "Protocol"),
    Column("url", "URL"),
    Column("labels", "Labels"),
)


@click.command(help="List the applications you may use.")
@format_option
def ls(output_format: OutputFormat) -> None:
    """List applications by name."""
    print_rows([_row(each) for each in run_command(_own_apps)], COLUMNS, output_format)


@click.command(name="open", help="Open a web application in the browser, and print its URL.")
@click.argument("name", metavar="NAME")
@click.option("--no-browser", is_flag=True, help="Only print the URL.")
def open_app(name: str, no_browser: bool) -> None:
    """Print the URL; a machine without a browser is no failure."""
    apps = {each.name: each for each in run_command(_own_apps)}
    found = apps.get(name)
    if found is None:
        raise CliError(f"application {name}", "not found, or you may not use it", "`msh app ls` shows yours")
    if not found.url:
        raise CliError(f"application {name}", "it has no page to open", f"use `msh app login {name}`")
    click.echo(found.url)
    if not no_browser and has_browser(os.environ):
        webbrowser.open(found.url)


def _row(each: pb.UserApp) -> dict[str, object]:
    """Return the JSON form, whose keys are part of the contract."""
    return {
        "name": each.name,
        "status": each.status,
        "health": each.health or None,
        "protocol": each.protocol,
        "url": each.url or None,
        "labels": dict(sorted(each.labels.items())),
    }


async def _own_apps() -> list[pb.UserApp]:
    async with open_api() as hub:
        answer = await hub.unary(
            "/mezite.v1.AppService/ListUserApps", pb.ListUserAppsRequest(), pb.ListUserAppsResponse
        )
    return list(answer.apps)
