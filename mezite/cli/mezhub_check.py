# SPDX-License-Identifier: Apache-2.0
"""``mezhub check``: validate a configuration and nothing else."""

from __future__ import annotations

import os

import click

from mezite.config.checks import hub_notes
from mezite.config.loader import load_hub_config

__all__ = ["check"]


@click.command(help="Validate a configuration; prints every problem with file, line, key and reason.")
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
def check(config: str) -> None:
    """Print notes and a closing line; problems leave as ConfigProblems and end with exit code 2."""
    loaded = load_hub_config(config, os.environ)
    for note in hub_notes(loaded, os.environ):
        click.echo(f"note: {note}")
    click.echo(f"{config}: the configuration is valid")
