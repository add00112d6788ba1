# SPDX-License-Identifier: Apache-2.0
"""`msh doctor [NODE]`: every hop from here to the node, timed."""

from __future__ import annotations

import os

import click

from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.msh.user_diagnosis import diagnose_user
from mezite.cli.terminal.diagnosis_report import report
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option
from mezite.core.names import node_name_in

__all__ = ["doctor"]


@click.command(help="Find out where the way to the hub, or to a node, breaks.")
@click.argument("node", required=False)
@click.option("--proxy", metavar="HOST[:PORT]", help="The hub, when you are not logged in yet.")
@format_option
def doctor(node: str | None, proxy: str | None, output_format: OutputFormat) -> None:
    """Print every step; exit code 1 when one failed."""
    name = None if node is None else _node_name(node)
    report(run_command(diagnose_user, proxy, name, way_out()), output_format)


def _node_name(target: str) -> str:
    """Take the node as the other commands do: `USER@NODE`, `NODE.CLUSTER`, `NODE:22`."""
    try:
        cluster = ProfileStore.from_environment(os.environ).current().cluster
    except CliError:
        cluster = ""
    return node_name_in(target.rpartition("@")[2], cluster)
