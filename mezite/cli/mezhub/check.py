# SPDX-License-Identifier: Apache-2.0
"""``mezhub check``: validate a configuration and nothing else."""

from __future__ import annotations

import os
import time

import click

from mezite.config.checks import hub_notes
from mezite.config.loader import load_hub_config

__all__ = ["check"]


@click.command(help="Validate a configuration; prints every problem with file, line, key and reason.")
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
def check(config: str) -> None:
    """Print notes and a closing line; problems leave as ConfigProblems or KeypairError and end with exit code 2."""
    # What checks a certificate takes a tenth of a second to import; `mezhub --help` need not wait for it.
    from mezite.hub.apps_certificate import check_apps_certificate, configured_apps_keypair  # noqa: PLC0415
    from mezite.hub.web_certificate import configured_keypair, keypair_notes  # noqa: PLC0415

    loaded = load_hub_config(config, os.environ)
    now = time.time_ns() // 1_000_000
    keypair = configured_keypair(loaded, now)
    notes = hub_notes(loaded, os.environ)
    notes += check_apps_certificate(loaded, keypair, configured_apps_keypair(loaded, now))
    for note in notes if keypair is None else [*notes, *keypair_notes(loaded, keypair, now)]:
        click.echo(f"note: {note}")
    click.echo(f"{config}: the configuration is valid")
