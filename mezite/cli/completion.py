# SPDX-License-Identifier: Apache-2.0
"""``completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["completion"]


class _Completion(click.Command):
    """Its help names the program that it is part of."""

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text with a line to copy."""
        program = ctx.find_root().info_name or "msh"
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(f'Print a completion script. For bash: eval "$({program} completion bash)"')


@click.command(cls=_Completion, help="Print a completion script.")
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
