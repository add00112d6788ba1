# SPDX-License-Identifier: Apache-2.0
"""`mezhub doctor`: what the hub needs on its own machine, and what survives on the way from outside."""

from __future__ import annotations

import os

import click

from mezite.cli.terminal.diagnosis_report import report
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option
from mezite.config.loader import load_hub_config
from mezite.config.schema import HubConfig
from mezite.core.durations import parse_duration
from mezite.hub.diagnosis import HubDiagnosis, diagnose_hub
from mezite.services.sources import system_sources

__all__ = ["doctor"]


@click.command(help="Look at configuration, database, CA keys, clock, ports and public address.")
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
@click.option(
    "--idle", default="3s", metavar="DURATION", help="Silence to try at the public address.  [default: 3s]"
)
@format_option
def doctor(config: str, idle: str, output_format: OutputFormat) -> None:
    """Print every step; exit code 1 when one failed, 2 when the configuration cannot be used."""
    loaded = load_hub_config(config, os.environ)
    try:
        seconds = parse_duration(idle)
    except ValueError as error:
        raise CliError("--idle cannot be read", str(error), exit_code=EXIT_USAGE) from None
    found = run_command(_diagnose, loaded, seconds)
    balancer = found.balancer
    snippets = {} if balancer is None else {"nginx": balancer.nginx, "haproxy": balancer.haproxy}
    report(found.findings, output_format, snippets)


async def _diagnose(config: HubConfig, idle_seconds: int) -> HubDiagnosis:
    return await diagnose_hub(config, system_sources(), idle_seconds=idle_seconds)
