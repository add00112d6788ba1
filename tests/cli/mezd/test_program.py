# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from mezite.cli.mezd.start import _ignore, _node_name
from mezite.config.schema import AgentConfig
from tests.cli.commands import HubInThread, run
from tests.e2e.harness import Daemon, clean_environment, program


def environ(folder: Path, **more: str) -> dict[str, str]:
    return {
        "MEZITE_DATA_DIR": str(folder),
        "MEZITE_PROXY_ADDR": "127.0.0.1:1",
        "MEZITE_AUTH_ADDR": "127.0.0.1:1",
        "MEZITE_NODE_NAME": "web-1",
        "MEZITE_LOG_FORMAT": "json",
        **more,
    }


def test_a_name_is_taken_from_the_configuration_or_the_machine() -> None:
    assert _node_name(AgentConfig(node_name="web-7")) == "web-7"
    assert _node_name(AgentConfig()) == socket.gethostname().lower().partition(".")[0]


@pytest.mark.parametrize(
    ("more", "code", "text"),
    [
        ({}, 1, "this agent has not joined a cluster yet: there is no join token; set MEZITE_JOIN_TOKEN"),
        ({"MEZITE_JOIN_TOKEN": "mzt_x"}, 1, "the join token cannot be used: "),
        (
            {"MEZITE_JOIN_TOKEN": f"mzt_{'A' * 43}.{'0' * 64}"},
            1,
            "cannot connect to 127.0.0.1:1: ",
        ),
        ({"MEZITE_NODE_NAME": "not a name"}, 2, "environment: MEZITE_NODE_NAME (node_name): "),
        ({"MEZITE_NODE_LABELS": "x"}, 2, "environment: MEZITE_NODE_LABELS (labels): "),
    ],
)
def test_agents_that_cannot_start(tmp_path: Path, more: dict[str, str], code: int, text: str) -> None:
    result = run("mezd", "start", environ=environ(tmp_path, **more))
    assert (result.code, result.out) == (code, "")
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.err
    assert errors[0].startswith(f"error: {text}")
    assert "Traceback" not in result.err


def test_a_damaged_identity(tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "identity.json").write_text("{")
    result = run("mezd", "start", environ=environ(tmp_path))
    assert result.code == 1
    assert result.err.startswith(f"error: the agent's identity is damaged: {tmp_path}/agent/identity.json is")
    assert result.err.endswith("; delete it and join with a new token\n")


@pytest.mark.e2e
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_an_agent_joins_and_stops(hub: HubInThread, tmp_path: Path, how: signal.Signals) -> None:
    """Started as by nohup, it goes on when the terminal goes."""
    name = f"mezd-{how.name.lower()}"
    environment = environ(
        tmp_path,
        MEZITE_NODE_NAME=name,
        MEZITE_PROXY_ADDR=hub.hub.address("tunnel"),
        MEZITE_AUTH_ADDR=hub.hub.address("auth"),
        MEZITE_JOIN_TOKEN=hub.do(hub.hub.join_token),
    )
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        agent = Daemon(program("mezd", "start"), clean_environment(environment), tmp_path / "log")
    finally:
        signal.signal(signal.SIGHUP, previous)
    try:
        agent.wait_for(lambda line: '"tunnel connected"' in line)
        agent.process.send_signal(signal.SIGHUP)
        rows = hub.mezctl("nodes", "ls", f"--search={name}", "--format=json").json
        assert rows[0]["status"] == "online"
        assert agent.stop(how) == 0
        assert any('"shutting down"' in line for line in agent.lines)
    finally:
        agent.kill()


def test_the_handler_does_nothing() -> None:
    assert _ignore(1, None) is None
