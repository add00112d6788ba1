# SPDX-License-Identifier: Apache-2.0
"""Which port is whose on the command line of `msh app login`."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from mezite.cli.app_tunnels import AppPort
from mezite.cli.msh_app import pair_ports
from tests.cli.commands import run


@pytest.mark.parametrize(
    ("words", "pairs"),
    [
        ("redis", [("redis", 0)]),
        ("redis --port 6380", [("redis", 6380)]),
        ("redis --port=6380", [("redis", 6380)]),
        ("--port 6380 redis", [("redis", 6380)]),
        ("a --port 1 b --port 2", [("a", 1), ("b", 2)]),
        ("a b --port 2", [("a", 0), ("b", 2)]),
        ("a --port 1 b", [("a", 1), ("b", 0)]),
        ("--port 1 a b --debug", [("a", 1), ("b", 0)]),
    ],
)
def test_a_port_belongs_to_the_name_before_it(words: str, pairs: list[tuple[str, int]]) -> None:
    assert pair_ports(words.split()) == tuple(AppPort(*pair) for pair in pairs)


@pytest.mark.parametrize(
    ("words", "owner"),
    [
        ("a --port 1 --port 2 b", "a"),
        ("--port 1 --port 2 a b", "the first application"),
        ("--port 1 a --port 2", "a"),
    ],
)
def test_two_ports_for_one_name(words: str, owner: str, tmp_path: Path) -> None:
    with pytest.raises(click.UsageError, match=f"{owner} got two ports"):
        pair_ports(words.split())
    result = run("msh", "app", "login", *words.split(), environ={"MSH_HOME": str(tmp_path)})
    assert result.code == 2
    assert f"{owner} got two ports; write NAME --port N for each" in result.err


@pytest.mark.parametrize("words", ["", "redis --port", "redis --port 0", "redis --port x", "redis --prot 1"])
def test_what_cannot_be_read_is_wrong_usage(words: str, tmp_path: Path) -> None:
    assert run("msh", "app", "login", *words.split(), environ={"MSH_HOME": str(tmp_path)}).code == 2
