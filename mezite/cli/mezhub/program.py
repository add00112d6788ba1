# SPDX-License-Identifier: Apache-2.0
"""``mezhub``: the server. ``mezhub --config FILE`` is short for ``mezhub start --config FILE``."""

from __future__ import annotations

import sys

import click

from mezite.cli.lazy_group import LazyCommand, program_group
from mezite.cli.terminal.errors import run_program

__all__ = ["main", "mezhub"]


@click.pass_context
def _start_by_default(ctx: click.Context, config: str | None) -> object:
    if ctx.invoked_subcommand is not None:
        if config is not None:
            raise click.UsageError("--config belongs behind the command", ctx)
        return None
    if config is None:
        click.echo(ctx.get_help())
        return None
    start = mezhub.get_command(ctx, "start")
    assert start is not None
    # Through the command's own parser, so that both spellings mean the same.
    with start.make_context("start", ["--config", config], parent=ctx) as start_context:
        return start.invoke(start_context)


mezhub = program_group(
    "mezhub",
    "The mezite hub: users and agents connect here.",
    {
        "start": LazyCommand("mezite.cli.mezhub.start:start", "Run the hub in the foreground."),
        "check": LazyCommand(
            "mezite.cli.mezhub.check:check", "Validate a configuration and list every problem."
        ),
        "init": LazyCommand("mezite.cli.mezhub.init:init", "Write a commented example configuration."),
        "bootstrap": LazyCommand("mezite.cli.mezhub.bootstrap:bootstrap", "Create the first administrator."),
        "ca-pin": LazyCommand("mezite.cli.mezhub.ca_pin:ca_pin", "Print the pin of the cluster's Host CA."),
        "doctor": LazyCommand("mezite.cli.mezhub.doctor:doctor", "Find out why the hub does not work."),
        "demo": LazyCommand("mezite.cli.mezhub.demo:demo", "Try everything on this machine."),
    },
    callback=_start_by_default,
    invoke_without_command=True,
    no_args_is_help=False,
    params=[click.Option(["--config"], metavar="FILE", help="Start the hub with this file.")],
)


def main() -> None:
    """Run ``mezhub`` and exit."""
    sys.exit(run_program(mezhub, "mezhub"))
