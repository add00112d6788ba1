# SPDX-License-Identifier: Apache-2.0
"""``mezhub init``: write a commented example configuration."""

from __future__ import annotations

import os

import click

from mezite.cli.terminal.errors import CliError
from mezite.config.example import commented_example

__all__ = ["init"]


@click.command(help="Write a commented example configuration. An existing file is never overwritten.")
@click.option("--config", metavar="FILE", required=True, help="The file to write.")
def init(config: str) -> None:
    """Create the file with mode 0600: it may come to hold a database password."""
    try:
        descriptor = os.open(config, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise CliError(
            f"cannot write {config}", "it exists already", "choose another name or remove it"
        ) from None
    except OSError as error:
        raise CliError(
            f"cannot write {config}",
            error.strerror or str(error),
            "choose a file in a folder that you may write",
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(commented_example())
    click.echo(f"Wrote {config}. Edit it, then: mezhub check --config {config}")
