# SPDX-License-Identifier: Apache-2.0
"""`msh app`: what is listed and opened, and which port is whose on the command line of `login`."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from mezite.cli.msh.app_login import pair_ports
from mezite.cli.msh.app_tunnels import AppPort
from tests.cli.commands import HubInThread, run


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


def test_what_the_user_may_use(hub: HubInThread, tmp_path: Path) -> None:
    hub.mezctl("apps", "register", "--name=wiki", "--uri=http://10.0.3.12:80", "--labels=env=prod")
    hub.mezctl("apps", "register", "--name=cache", "--uri=tcp://10.0.3.12:6379")
    hub.sign_in(tmp_path / "ann", "app-ann")
    hub.sign_in(tmp_path / "ben", "app-ben", roles=())
    port = hub.hub.address("web").rpartition(":")[2]
    listed = hub.msh(tmp_path / "ann", "app", "ls", "--format=json").json
    cache, wiki = [row for row in listed if row["name"] in {"cache", "wiki"}]
    assert cache == {
        "name": "cache",
        "status": "no_agents",
        "health": None,
        "protocol": "tcp",
        "url": None,
        "labels": {},
    }
    url = f"https://wiki.apps.example.com:{port}"
    assert (wiki["url"], wiki["labels"]) == (url, {"env": "prod"})
    assert url in hub.msh(tmp_path / "ann", "app", "list").out
    assert hub.msh(tmp_path / "ben", "app", "ls", "--format=json").json == []
    opened = hub.msh(tmp_path / "ann", "app", "open", "wiki", "--no-browser")
    assert (opened.code, opened.out) == (0, f"{url}\n")
    assert hub.msh(tmp_path / "ann", "app", "open", "wiki", DISPLAY="", WAYLAND_DISPLAY="").out == f"{url}\n"
    tcp = hub.msh(tmp_path / "ann", "app", "open", "cache")
    assert (tcp.code, tcp.err) == (
        1,
        "error: application cache: it has no page to open; use `msh app login cache`\n",
    )
    hidden = hub.msh(tmp_path / "ben", "app", "open", "wiki")
    assert hidden.err == (
        "error: application wiki: not found, or you may not use it; `msh app ls` shows yours\n"
    )
