# SPDX-License-Identifier: Apache-2.0
"""Lazy commands, synonyms, suggestions."""

import sys

import click
import pytest

import mezite
from mezite.cli.lazy_group import CommandGroup, LazyCommand, program_group
from mezite.cli.terminal.errors import run_program

called = []


@click.command(help="Remember the words.")
@click.argument("words", nargs=-1)
def remember(words):
    called.append(words)


@click.command(hidden=True)
def secret():
    raise NotImplementedError


@pytest.fixture
def group():
    called.clear()
    module = __name__
    sys.modules.setdefault(module, sys.modules[__name__])
    made = program_group(
        "tool",
        "A tool.",
        {
            "ls": LazyCommand(f"{module}:remember", "List."),
            "delete": LazyCommand(f"{module}:remember", "Delete."),
            "absent": LazyCommand("mezite.cli.no_such_module:x", "Not there."),
            "broken": LazyCommand("tests.cli.imports_what_is_missing:x", "Does not import."),
        },
    )
    made.add_command(remember, "remember")
    made.add_command(secret, "secret")
    return made


@pytest.mark.parametrize("word", ["ls", "list"])
def test_ls_and_list_are_the_same_word(group, word):
    assert run_program(group, "tool", [word, "a"]) == 0
    assert called == [("a",)]


@pytest.mark.parametrize("word", ["rm", "delete"])
def test_rm_and_delete_are_the_same_word(group, word):
    assert run_program(group, "tool", [word]) == 0
    assert called == [()]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lst"], "error: no command 'lst'; did you mean ls?; see tool --help"),
        (["rememver"], "error: no command 'rememver'; did you mean remember?; see tool --help"),
        (
            ["zzz"],
            "error: no command 'zzz'; known are ls, delete, absent, broken, remember; see tool --help",
        ),
        (["absent"], "error: mezite.cli.no_such_module is not part of this installation"),
    ],
)
def test_unknown_commands(group, capsys, words, line):
    assert run_program(group, "tool", words) in {1, 2}
    assert capsys.readouterr().err == line + "\n"


def test_an_import_error_inside_a_command_is_not_hidden(group, capsys):
    assert run_program(group, "tool", ["broken"]) == 1
    assert "ModuleNotFoundError" in capsys.readouterr().err


def test_help_lists_commands_without_importing_them(group, capsys):
    assert run_program(group, "tool", ["--help"]) == 0
    out = capsys.readouterr().out
    assert "absent    Not there." in out
    assert "Remember the words." in out
    assert "secret" not in out


def test_no_command_shows_the_help(group, capsys):
    assert run_program(group, "tool", []) == 2
    captured = capsys.readouterr()
    assert "Usage: tool" in captured.out + captured.err


def test_version(group, capsys):
    assert run_program(group, "tool", ["--version"]) == 0
    assert capsys.readouterr().out == f"tool {mezite.__version__}\n"


@pytest.mark.parametrize("words", [["--debug", "absent"], ["absent", "--debug"]])
def test_debug_in_front_of_the_command(group, capsys, words):
    assert run_program(group, "tool", ["--debug", "absent"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_debug_behind_the_command(group):
    seen = []
    group.add_command(
        click.Command("show", callback=lambda: seen.append(click.get_current_context().obj.debug))
    )
    for words in (["show"], ["show", "--debug"], ["show"]):
        assert run_program(group, "tool", words) == 0
    assert seen == [False, True, False]


def test_a_group_without_commands_has_no_listing(capsys):
    assert run_program(CommandGroup("empty"), "empty", ["--help"]) == 0
    assert "Commands" not in capsys.readouterr().out
