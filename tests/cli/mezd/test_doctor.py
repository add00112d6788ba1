# SPDX-License-Identifier: Apache-2.0
"""`mezd doctor` against a hub: what is fine, and what each wrong setting is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mezite.agent.identity_store import IdentityStore
from tests.cli.commands import HubInThread, Result, run
from tests.hub.live_hub import Enrolled

STEPS = [
    "identity",
    "tunnel: DNS",
    "tunnel: TCP",
    "tunnel: outer TLS",
    "tunnel: WebSocket",
    "tunnel: handshake",
    "gRPC: DNS",
    "gRPC: TCP",
    "gRPC: TLS",
    "gRPC: call",
    "clock",
]


def joined(hub: HubInThread, folder: Path, node: str) -> Path:
    """A data directory with the identity of a node of that name."""
    enrolled: Enrolled = hub.do(hub.hub.enroll, node)
    store = IdentityStore(folder)
    store.save_keys(enrolled.keys)
    store.save(enrolled.identity)
    return folder


def doctor(hub: HubInThread, folder: Path, *arguments: str, **environ: str) -> Result:
    defaults = {
        "MEZITE_DATA_DIR": str(folder),
        "MEZITE_PROXY_ADDR": hub.hub.address("tunnel"),
        "MEZITE_AUTH_ADDR": hub.hub.address("auth"),
    }
    return run("mezd", "doctor", *arguments, environ=defaults | environ)


def steps(result: Result) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in result.json["steps"]}


def outcome(result: Result) -> dict[str, str]:
    return {name: step["outcome"] for name, step in steps(result).items()}


def test_all_is_well(hub: HubInThread, tmp_path: Path) -> None:
    folder = joined(hub, tmp_path, "doctor-1")
    result = doctor(hub, folder, "--format=json")
    assert (result.code, result.err) == (0, "")
    assert result.json["ok"] is True
    assert result.json["first_broken"] is None
    assert list(steps(result)) == STEPS
    assert {name for name, how in outcome(result).items() if how == "skipped"} == {
        "tunnel: DNS",
        "tunnel: outer TLS",
        "tunnel: WebSocket",
        "gRPC: DNS",
    }
    assert all(step["milliseconds"] >= 0 for step in steps(result).values() if step["outcome"] == "ok")
    assert "node doctor-1 of cluster test" in steps(result)["identity"]["detail"]
    assert steps(result)["gRPC: call"]["detail"] == "cluster test, the CA is the pinned one"


def test_in_words(hub: HubInThread, tmp_path: Path) -> None:
    result = doctor(hub, joined(hub, tmp_path, "doctor-2"), MEZITE_PROXY_ADDR=hub.hub.address("web"))
    assert result.code == 1
    lines = result.out.splitlines()
    assert lines[0].split() == ["Step", "Result", "ms", "What", "was", "found"]
    assert "tunnel: handshake: the hub's HTTPS port answers there" in result.out
    assert (
        "  to do: MEZITE_PROXY_ADDR must point to the tunnel port (3024), not the HTTPS port (" in result.out
    )
    assert result.err.startswith("error: tunnel: handshake failed: the hub's HTTPS port answers there")
    assert len(result.err.splitlines()) == 1


def test_a_running_agent_is_not_disturbed(hub: HubInThread, tmp_path: Path) -> None:
    """The doctor holds the agent's own certificate, and yet takes no place away from it."""
    folder = joined(hub, tmp_path, "doctor-3")
    agent_id = IdentityStore(folder).load().agent_id
    assert doctor(hub, folder).code == 0
    assert hub.hub.hub.services.registry.find(agent_id) is None


@pytest.mark.parametrize(
    ("port", "found", "remedy"),
    [
        ("web", "the hub's HTTPS port", "must point to the tunnel port (3024), not the HTTPS port"),
        ("auth", "a gRPC port", "must point to the tunnel port (3024), not the gRPC port"),
        ("ssh", "the hub's SSH port", "must point to the tunnel port (3024), not the SSH port"),
        ("diag", "an HTTP server without TLS", "must point to the tunnel port (3024), not port"),
    ],
)
def test_an_agent_at_a_wrong_port(
    hub: HubInThread, tmp_path: Path, port: str, found: str, remedy: str
) -> None:
    folder = joined(hub, tmp_path, f"doctor-at-{port}")
    result = doctor(hub, folder, "--format=json", MEZITE_PROXY_ADDR=hub.hub.address(port))
    assert result.code == 1
    assert result.json["first_broken"] == "tunnel: handshake"
    step = steps(result)["tunnel: handshake"]
    assert step["detail"].startswith(f"{found} answers there (")
    assert step["remedy"].startswith(f"MEZITE_PROXY_ADDR {remedy}")
    assert outcome(result)["gRPC: call"] == "ok"


@pytest.mark.parametrize("port", ["web", "ssh", "tunnel", "diag"])
def test_the_wrong_port_for_grpc(hub: HubInThread, tmp_path: Path, port: str) -> None:
    folder = joined(hub, tmp_path, f"doctor-grpc-at-{port}")
    result = doctor(hub, folder, "--format=json", MEZITE_AUTH_ADDR=hub.hub.address(port))
    assert result.code == 1
    assert result.json["first_broken"] == "gRPC: TLS"
    assert steps(result)["gRPC: TLS"]["remedy"].startswith(
        "MEZITE_AUTH_ADDR must point to the gRPC port (3025)"
    )
    assert outcome(result)["gRPC: call"] == outcome(result)["clock"] == "skipped"


def test_nobody_listens(hub: HubInThread, tmp_path: Path) -> None:
    folder = joined(hub, tmp_path, "doctor-refused")
    result = doctor(hub, folder, "--format=json", MEZITE_PROXY_ADDR="127.0.0.1:1")
    assert result.json["first_broken"] == "tunnel: TCP"
    assert steps(result)["tunnel: TCP"]["detail"] == "127.0.0.1:1: connection refused"
    assert outcome(result)["tunnel: handshake"] == "skipped"
    assert steps(result)["tunnel: handshake"]["detail"] == "not tried: tunnel: TCP failed"


def test_a_name_nobody_knows(hub: HubInThread, tmp_path: Path) -> None:
    folder = joined(hub, tmp_path, "doctor-name")
    result = doctor(hub, folder, "--format=json", MEZITE_PROXY_ADDR="no-such-host.invalid")
    assert result.json["first_broken"] == "tunnel: DNS"
    assert steps(result)["tunnel: DNS"]["remedy"].startswith("check the name in MEZITE_PROXY_ADDR")


def test_an_agent_without_identity(hub: HubInThread, tmp_path: Path) -> None:
    result = doctor(hub, tmp_path, "--format=json")
    assert result.json["first_broken"] == "identity"
    assert "MEZITE_JOIN_TOKEN" in steps(result)["identity"]["remedy"]
    assert outcome(result)["tunnel: handshake"] == "ok"


def test_an_agent_that_is_about_to_join(hub: HubInThread, tmp_path: Path) -> None:
    token = hub.do(hub.hub.join_token)
    result = doctor(hub, tmp_path, "--format=json", MEZITE_JOIN_TOKEN=token)
    assert result.code == 0, result.err
    assert steps(result)["identity"]["detail"] == "not joined yet; there is a join token"
    (tmp_path / "token").write_text(token)
    assert doctor(hub, tmp_path, MEZITE_JOIN_TOKEN_FILE=str(tmp_path / "token")).code == 0


def test_tokens_that_cannot_be_used(hub: HubInThread, tmp_path: Path) -> None:
    missing = doctor(hub, tmp_path, "--format=json", MEZITE_JOIN_TOKEN_FILE=str(tmp_path / "none"))
    assert steps(missing)["identity"]["remedy"] == "check join_token_file"
    damaged = doctor(hub, tmp_path, "--format=json", MEZITE_JOIN_TOKEN="mzt_x")
    assert steps(damaged)["identity"]["detail"].startswith("the join token cannot be used: ")
    foreign = f"mzt_{'A' * 43}.{'0' * 64}"
    other = doctor(hub, tmp_path, "--format=json", MEZITE_JOIN_TOKEN=foreign)
    assert other.json["first_broken"] == "gRPC: call"
    assert "expected sha256:0000" in steps(other)["gRPC: call"]["detail"]


def test_an_identity_that_is_damaged(hub: HubInThread, tmp_path: Path) -> None:
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "identity.json").write_text("{")
    result = doctor(hub, tmp_path, "--format=json")
    assert steps(result)["identity"]["detail"].endswith(
        "identity.json is not JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"
    )


def test_an_agent_that_was_removed(hub: HubInThread, tmp_path: Path) -> None:
    folder = joined(hub, tmp_path, "doctor-removed")
    assert hub.mezctl("nodes", "rm", "doctor-removed").code == 0
    result = doctor(hub, folder, "--format=json")
    assert result.json["first_broken"] == "tunnel: handshake"
    assert steps(result)["tunnel: handshake"]["detail"].startswith("the hub refuses this agent: ")


def test_where_only_https_passes(hub: HubInThread, tmp_path: Path) -> None:
    folder = joined(hub, tmp_path, "doctor-websocket")
    result = doctor(hub, folder, "--format=json", MEZITE_PROXY_ADDR=f"https://{hub.hub.address('web')}")
    assert result.err == ""
    assert steps(result)["tunnel: WebSocket"]["detail"] == "switched"
    assert "mezite-tunnel/1" in steps(result)["tunnel: handshake"]["detail"]


@pytest.mark.parametrize(("port", "broken"), [("diag", "tunnel: outer TLS"), ("auth", "tunnel: ")])
def test_a_websocket_at_a_wrong_port(hub: HubInThread, tmp_path: Path, port: str, broken: str) -> None:
    folder = joined(hub, tmp_path, f"doctor-websocket-{port}")
    address = f"https://{hub.hub.address(port)}"
    result = doctor(hub, folder, "--format=json", MEZITE_PROXY_ADDR=address)
    assert result.json["first_broken"].startswith(broken)
    remedy = steps(result)[result.json["first_broken"]]["remedy"]
    assert "MEZITE_PROXY_ADDR must point to the" in remedy
