# SPDX-License-Identifier: Apache-2.0
"""Command groups that import a command only when it is called.

A command line must be quick, and importing Trio alone takes longer than a user's patience for
``--version``. So a group knows its commands by a table of module, function and one line of help.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any

import attrs
import click
from click.shell_completion import CompletionItem

from mezite import __version__
from mezite.cli.terminal.errors import CliError, ProgramState

__all__ = ["CommandGroup", "LazyCommand", "program_group"]

# The same word everywhere, whichever of the two a user knows.
_SYNONYMS = {"ls": "list", "list": "ls", "rm": "delete", "delete": "rm"}


@attrs.frozen
class LazyCommand:
    """Where a command lives: ``module:function``, and its line in the listing."""

    target: str
    help: str

    def load(self) -> click.Command:
        module_name, _, attribute = self.target.partition(":")
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name != module_name:
                raise
            raise CliError(f"{module_name} is not part of this installation") from None
        command = getattr(module, attribute)
        assert isinstance(command, click.Command)
        return command


class CommandGroup(click.Group):
    """A click group with lazy commands, synonyms and a suggestion for a mistyped one."""

    def __init__(self, *args: Any, lazy: Mapping[str, LazyCommand] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order they were declared, which is the order of use."""
        return [*self.lazy, *(name for name in super().list_commands(ctx) if name not in self.lazy)]

    def _is_shown(self, name: str) -> bool:
        return name in self.lazy or not self.commands[name].hidden

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return the command called ``cmd_name`` or its synonym, importing it if need be."""
        known = self.list_commands(ctx)
        name = cmd_name if cmd_name in known else _SYNONYMS.get(cmd_name, cmd_name)
        command = self.lazy[name].load() if name in self.lazy else super().get_command(ctx, name)
        if command is not None and not any("--debug" in parameter.opts for parameter in command.params):
            command.params.append(_debug_option(hidden=True))
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or say which one was probably meant."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            known = [each for each in self.list_commands(ctx) if self._is_shown(each)]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            advice = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise click.UsageError(f"no command {name!r}; {advice}", ctx)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete commands by the table and options as usual, without importing a command per keystroke."""
        names = [name for name in self.list_commands(ctx) if name.startswith(incomplete)]
        items = [CompletionItem(name, help=self.lazy[name].help) for name in names if name in self.lazy]
        items += [
            CompletionItem(name, help=self.commands[name].get_short_help_str())
            for name in names
            if name not in self.lazy and self._is_shown(name)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the listing without importing anything."""
        rows = []
        for name in filter(self._is_shown, self.list_commands(ctx)):
            if name in self.lazy:
                rows.append((name, self.lazy[name].help))
            else:
                rows.append((name, self.commands[name].get_short_help_str(limit=formatter.width)))
        if rows:
            with formatter.section("Commands"):
                formatter.write_dl(rows)


def _set_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        ctx.ensure_object(ProgramState).debug = True


def _debug_option(*, hidden: bool) -> click.Option:
    return click.Option(
        ["--debug"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        hidden=hidden,
        callback=_set_debug,
        help="Show tracebacks.",
    )


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"{ctx.find_root().info_name} {__version__}")
        ctx.exit()


def program_group(name: str, help_text: str, lazy: Mapping[str, LazyCommand], **kwargs: Any) -> CommandGroup:
    """Return the top-level group of one program, with ``--version``, ``--debug`` and ``--help``."""
    version = click.Option(
        ["--version"],
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_print_version,
        help="Show the version.",
    )
    group = CommandGroup(
        name,
        help=help_text,
        lazy=lazy,
        context_settings={"help_option_names": ["-h", "--help"]},
        no_args_is_help=kwargs.pop("no_args_is_help", True),
        **kwargs,
    )
    group.params.extend([version, _debug_option(hidden=False)])
    return group
