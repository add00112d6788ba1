# SPDX-License-Identifier: Apache-2.0
"""`mezhub ca-pin`: what clients hold the hub's CA against."""

from __future__ import annotations

import os

import click

from mezite.cli.terminal.errors import CliError, run_command
from mezite.config.loader import load_hub_config
from mezite.config.schema import HubConfig
from mezite.hub.ground import open_ground
from mezite.services.authorities.certificate_authority import CaPassphraseError
from mezite.services.sources import system_sources
from mezite.storage.errors import StorageError

__all__ = ["ca_pin"]


@click.command("ca-pin", help="Print sha256:<64 hex> of the cluster's Host CA, for --ca-pin.")
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
def ca_pin(config: str) -> None:
    """Print the pin, making the CA if this is a new hub.

    During a rotation there are others; those go beside the output, which is one pin that a script can use.
    """
    pin, *others = run_command(_pins, load_hub_config(config, os.environ))
    click.echo(f"sha256:{pin}")
    for other in others:
        click.echo(f"sha256:{other} is trusted too: a rotation is under way", err=True)


async def _pins(config: HubConfig) -> list[str]:
    try:
        async with open_ground(config, system_sources()) as ground:
            return ground.authorities.host_pins
    except (CaPassphraseError, StorageError) as error:
        raise CliError("cannot use the database", str(error)) from None
