# SPDX-License-Identifier: Apache-2.0
"""`msh app login`: local ports that lead to TCP applications."""

from __future__ import annotations

from collections.abc import Sequence

import click

from mezite.cli.msh.app_tunnels import AppPort, open_tunnels
from mezite.cli.terminal.errors import run_command
from mezite.cli.terminal.escapes import escape_controls

__all__ = ["login", "pair_ports"]

_PAIRS = "mezite.app_ports"


def pair_ports(arguments: Sequence[str]) -> tuple[AppPort, ...]:
    """Return the applications of a command line that click has found to be good, each with its port.

    A port belongs to the name in front of it, or to the first name when it comes before all.

    :raises click.UsageError: an application got two ports.
    """
    pairs: list[tuple[str, int]] = []
    early = 0
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--port" or word.startswith("--port="):
            port = int(rest.pop(0) if word == "--port" else word.removeprefix("--port="))
            if early or (pairs and pairs[-1][1]):
                owner = pairs[-1][0] if pairs else "the first application"
                raise click.UsageError(f"{owner} got two ports; write NAME --port N for each")
            if pairs:
                pairs[-1] = (pairs[-1][0], port)
            else:
                early = port
        elif not word.startswith("--"):
            pairs.append((word, early))
            early = 0
    return tuple(AppPort(name, port) for name, port in pairs)


class _LoginCommand(click.Command):
    """Its ports belong to names, an order that click does not keep."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does, with the pairs kept beside the parameters."""
        words = list(args)
        rest = super().parse_args(ctx, args)
        ctx.meta[_PAIRS] = pair_ports(words)
        return rest


@click.command(
    cls=_LoginCommand,
    help="Listen on a port of this machine for each TCP application, until interrupted. Connections to it reach the "
    "application as you. Several applications: NAME --port N NAME --port N.",
)
@click.argument("names", nargs=-1, required=True, metavar="NAME")
@click.option(
    "--port",
    "ports",
    type=click.IntRange(1, 65535),
    multiple=True,
    metavar="N",
    help="Local port for the application named before it; a free one without it.",
)
@click.pass_context
def login(ctx: click.Context, names: tuple[str, ...], ports: tuple[int, ...]) -> None:
    """Carry connections until interrupted."""
    run_command(open_tunnels, ctx.meta[_PAIRS], click.echo, _say)


def _say(text: str) -> None:
    click.echo(escape_controls(text), err=True)
