# SPDX-License-Identifier: Apache-2.0
"""``completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


@click.command(help='Print a completion script. For bash: eval "$(msh completion bash)"')
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the script for ``shell``."""
    root = ctx.find_root()
    program = root.info_name or "msh"
    found = get_completion_class(shell)
    assert found is not None
    # run_program answers completions and does nothing else when this variable is set.
    variable = f"_{program.upper()}_COMPLETE"
    click.echo(found(root.command, {}, program, variable).source())
