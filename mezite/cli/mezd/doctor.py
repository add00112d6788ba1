# SPDX-License-Identifier: Apache-2.0
"""`mezd doctor`: where the way from this machine to the hub breaks, and what to do about it."""

from __future__ import annotations

import os
import time

import click

from mezite.agent.diagnosis import diagnose_agent
from mezite.cli.mezd.start import outbound_of
from mezite.cli.terminal.diagnosis_report import report
from mezite.cli.terminal.errors import run_command
from mezite.cli.terminal.output import OutputFormat, format_option
from mezite.config.loader import load_agent_config

__all__ = ["doctor"]


@click.command(help="Walk the way to the hub: DNS, TCP, outer TLS, tunnel handshake, gRPC, clock.")
@click.option("--config", metavar="FILE", help="The configuration file.")
@format_option
def doctor(config: str | None, output_format: OutputFormat) -> None:
    """Print every step; exit code 1 when one failed. The agent itself may be running."""
    loaded = load_agent_config(config, os.environ)
    findings = run_command(diagnose_agent, loaded, outbound_of(loaded), lambda: time.time_ns() // 1_000_000)
    report(findings, output_format)
