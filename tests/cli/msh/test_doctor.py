# SPDX-License-Identifier: Apache-2.0
"""`msh doctor` against a hub with nodes that echo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import attrs
import pytest

from mezite.cli.hub_client.profile_store import ProfileStore
from tests.cli.commands import HubInThread, Result

STEPS = [
    "profile",
    "web: DNS",
    "web: TCP",
    "web: TLS",
    "web: hub",
    "clock",
    "ssh: DNS",
    "ssh: TCP",
    "ssh: TLS",
    "ssh: hub",
]


@pytest.fixture(scope="module")
def home(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The profile of a user of its own."""
    folder = tmp_path_factory.mktemp("doctor")
    hub.sign_in(folder, "patient")
    return folder


def doctor(hub: HubInThread, home: Path, *arguments: str) -> Result:
    return hub.msh(home, "doctor", "--format=json", *arguments)


def steps(result: Result) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in result.json["steps"]}


def elsewhere(home: Path, folder: Path, **changes: str) -> Path:
    """The same profile, with other addresses."""
    store = ProfileStore(home)
    current = store.current()
    ProfileStore(folder).save(attrs.evolve(current, **changes), store.load(current))
    return folder


def test_to_the_hub(hub: HubInThread, home: Path) -> None:
    result = doctor(hub, home)
    assert (result.code, result.err) == (0, "")
    assert list(steps(result)) == STEPS
    assert steps(result)["profile"]["detail"].startswith("patient of cluster test, roles access, valid for ")
    assert steps(result)["web: hub"]["detail"].startswith("cluster test, version ")
    assert steps(result)["ssh: TLS"]["detail"].startswith("TLSv1.3, mezite-connect/1, certificate of ")


def test_to_a_node(hub: HubInThread, home: Path) -> None:
    """The node of this test echoes: the banner is our own, which has been there and back."""
    hub.start_echo("doctor-node")
    result = doctor(hub, home, "ubuntu@doctor-node.test:22")
    assert list(steps(result)) == [*STEPS, "node: online", "node: SSH banner"]
    assert steps(result)["node: online"]["detail"].startswith("online, logins ubuntu, mezd ")
    assert (result.code, result.err) == (0, "")
    assert steps(result)["node: SSH banner"]["detail"] == "SSH-2.0-mezite_doctor"


def test_an_unknown_node(hub: HubInThread, home: Path) -> None:
    result = doctor(hub, home, "no-such-node")
    assert result.json["first_broken"] == "node: online"
    assert "`msh ls`" in steps(result)["node: online"]["remedy"]
    assert steps(result)["node: SSH banner"]["outcome"] == "skipped"


def test_a_node_that_is_off(hub: HubInThread, home: Path) -> None:
    hub.do(hub.hub.enroll, "doctor-off")
    result = doctor(hub, home, "doctor-off")
    assert result.json["first_broken"] == "node: online"
    assert "run `mezd doctor` on the node" in steps(result)["node: online"]["remedy"]


def test_not_logged_in(hub: HubInThread, tmp_path: Path) -> None:
    result = doctor(hub, tmp_path, "web-1")
    assert result.code == 1
    assert result.json["first_broken"] == "profile"
    assert "msh login" in steps(result)["profile"]["remedy"]
    assert {steps(result)[name]["outcome"] for name in ("ssh: TCP", "node: SSH banner")} == {"skipped"}


def test_before_the_first_login(hub: HubInThread, tmp_path: Path) -> None:
    result = doctor(hub, tmp_path, f"--proxy={hub.hub.address('web')}")
    assert result.json["first_broken"] == "web: TLS"
    assert "--ca-pin" in steps(result)["web: TLS"]["remedy"]


@pytest.mark.parametrize(
    ("port", "found"),
    [("tunnel", "the hub's tunnel port"), ("web", "the hub's HTTPS port"), ("auth", "a gRPC port")],
)
def test_a_wrong_port_for_ssh(hub: HubInThread, home: Path, tmp_path: Path, port: str, found: str) -> None:
    result = doctor(hub, elsewhere(home, tmp_path, ssh_addr=hub.hub.address(port)))
    assert result.json["first_broken"] == "ssh: TLS"
    assert steps(result)["ssh: TLS"]["detail"].startswith(f"{found} answers there (")
    assert "must point to the SSH port (3023)" in steps(result)["ssh: TLS"]["remedy"]


@pytest.mark.parametrize("port", ["ssh", "tunnel", "auth", "diag"])
def test_a_wrong_port_for_the_web(hub: HubInThread, home: Path, tmp_path: Path, port: str) -> None:
    result = doctor(hub, elsewhere(home, tmp_path, proxy_addr=hub.hub.address(port)))
    broken = result.json["first_broken"]
    # A server may only notice that none of our protocols is its own when it reads the request.
    assert broken in {"web: TLS", "web: hub"}
    assert steps(result)[broken]["remedy"].startswith("--proxy must point to the HTTPS port (3080)")


def test_a_port_where_nobody_listens(hub: HubInThread, home: Path, tmp_path: Path) -> None:
    result = doctor(hub, elsewhere(home, tmp_path, proxy_addr="127.0.0.1:1"))
    assert result.json["first_broken"] == "web: TCP"
    assert steps(result)["ssh: hub"]["outcome"] == "ok"


def test_msh_in_a_websocket(hub: HubInThread, home: Path, tmp_path: Path) -> None:
    result = doctor(hub, elsewhere(home, tmp_path, carrier="websocket", ssh_addr="127.0.0.1:1"))
    assert result.err == ""
    assert steps(result)["ssh: TLS"]["detail"].endswith(", inside a WebSocket")
