# SPDX-License-Identifier: Apache-2.0
"""`--help` on every level of every program."""

from __future__ import annotations

from collections.abc import Iterator

import click
import pytest

from tests.cli.commands import PROGRAMS, run


def paths(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(command, click.Group):
        with click.Context(command) as context:
            for name in command.list_commands(context):
                found = command.get_command(context, name)
                assert found is not None
                yield from paths(found, (*path, name))


ALL = [path for name, command in PROGRAMS.items() for path in paths(command, (name,))]


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help(path: tuple[str, ...]) -> None:
    result = run(*path, "--help")
    assert (result.code, result.err) == (0, "")
    usage, _blank, text, *rest = result.out.splitlines()
    assert usage.startswith(f"Usage: {' '.join(path)}")
    assert text.strip(), "a line that says what it is for"
    assert "Group only" not in result.out
    assert not [line for line in rest if line.endswith("...")], "a summary that had to be cut"


def test_the_contracts_commands_are_there() -> None:
    """Section 1 of the contract, as far as this issue goes."""
    wanted = {
        "mezhub": "start check init bootstrap ca-pin demo",
        "mezd": "start",
        "mezctl": "login users tokens nodes audit completion",
        "msh": "login logout status ls ssh proxy config completion",
    }
    for program, names in wanted.items():
        assert {(program, name) for name in names.split()} <= {path[:2] for path in ALL if len(path) > 1}
    for group in ("users", "tokens", "nodes"):
        assert ("mezctl", group, "ls") in ALL


@pytest.mark.parametrize("path", [path for path in ALL if len(path) > 1], ids=" ".join)
def test_an_unknown_option_is_wrong_usage(path: tuple[str, ...]) -> None:
    result = run(*path, "--no-such-option")
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_unknown_command_is_wrong_usage(program: str) -> None:
    result = run(program, "frobnicate")
    assert result.code == 2
    assert result.err.startswith("error: no command 'frobnicate'; known are ")
