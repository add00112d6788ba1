# SPDX-License-Identifier: Apache-2.0
"""`mezctl doctor`, and what mezctl says at a wrong port."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import HubInThread, Result, run

STEPS = [
    "gRPC: DNS",
    "gRPC: TCP",
    "gRPC: TLS",
    "gRPC: call",
    "clock",
    "credential",
    "cluster",
    "applications",
]


def steps(result: Result) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in result.json["steps"]}


def at(hub: HubInThread, address: str, *arguments: str) -> Result:
    environ = {"MEZITE_AUTH_TOKEN": "x" * 64, "MSH_HOME": str(hub.folder / "nobody")}
    return run("mezctl", f"--auth-server={address}", f"--ca-pin={hub.hub.pin}", *arguments, environ=environ)


def remove_apps(hub: HubInThread) -> None:
    """Those of other tests, which nobody serves."""
    for row in hub.mezctl("apps", "ls", "--format=json").json:
        hub.mezctl("apps", "rm", row["name"])


def test_all_is_well(hub: HubInThread) -> None:
    remove_apps(hub)
    hub.start_echo("mezctl-doctor")
    result = hub.mezctl("doctor", "--format=json")
    assert (result.code, result.err) == (0, "")
    assert list(steps(result)) == STEPS
    assert steps(result)["gRPC: call"]["detail"] == "cluster test, the CA is the pinned one"
    assert steps(result)["credential"]["detail"] == "a session token"
    assert "online" in steps(result)["cluster"]["detail"]
    assert steps(result)["applications"]["detail"] == "none is registered"


def test_what_is_wrong_with_applications(hub: HubInThread) -> None:
    remove_apps(hub)
    hub.mezctl("apps", "register", "--name=nobodys", "--uri=http://10.0.3.12:3000")
    result = hub.mezctl("doctor", "--format=json")
    (problem,) = [step for step in result.json["steps"] if step["outcome"] == "failed"]
    assert (result.code, result.json["first_broken"]) == (1, "application nobodys")
    assert problem["detail"] == "no agent serves it"
    assert problem["remedy"] == "`mezctl apps add-agent nobodys --agent-hostname=HOST`"
    hub.mezctl("apps", "disable", "nobodys")
    result = hub.mezctl("doctor", "--format=json")
    assert steps(result)["applications"]["detail"] == "1 registered, health of 0 checked, 1 disabled"
    hub.mezctl("apps", "rm", "nobodys")


def test_by_the_profile_of_msh(hub: HubInThread, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, "mezctl-patient")
    result = run("mezctl", "doctor", "--format=json", environ={"MSH_HOME": str(tmp_path)})
    assert (result.code, result.err) == (0, "")
    assert steps(result)["credential"]["detail"] == "the certificate of msh login"
    assert steps(result)["applications"]["outcome"] == "skipped"
    assert "does not tell this credential" in steps(result)["applications"]["detail"]


def test_a_token_that_is_not_known(hub: HubInThread) -> None:
    result = at(hub, hub.hub.address("auth"), "doctor", "--format=json")
    assert result.code == 1
    assert result.json["first_broken"] == "credential"
    assert steps(result)["cluster"]["outcome"] == "skipped"


def test_a_certificate_that_nobody_vouches_for(hub: HubInThread, tmp_path: Path) -> None:
    address = hub.hub.address("auth")
    result = run(
        "mezctl", f"--auth-server={address}", "doctor", "--format=json", environ={"MSH_HOME": str(tmp_path)}
    )
    assert result.json["first_broken"] == "gRPC: TLS"
    assert "--ca-pin" in steps(result)["gRPC: TLS"]["remedy"]


def test_a_pin_that_is_none(hub: HubInThread) -> None:
    result = run("mezctl", "--auth-server=127.0.0.1:1", "--ca-pin=x", "doctor")
    assert result.code == 2
    assert result.err.startswith("error: --ca-pin cannot be used: ")


@pytest.mark.parametrize(
    ("port", "found"),
    [
        ("web", "not the HTTPS port ("),
        ("tunnel", "not the tunnel port ("),
        ("ssh", "not the SSH port ("),
        ("diag", "a load balancer must expose it"),
    ],
)
def test_a_wrong_port(hub: HubInThread, port: str, found: str) -> None:
    result = at(hub, hub.hub.address(port), "nodes", "ls")
    assert result.code == 1
    assert result.err.startswith(f"error: cannot talk to the gRPC port at {hub.hub.address(port)}: ") or (
        result.err.startswith(f"error: {hub.hub.address(port)} is not a gRPC port: ")
    )
    assert "--auth-server must point to the gRPC port (3025)" in result.err
    assert found in result.err
    assert len(result.err.splitlines()) == 1


def test_nobody_listens(hub: HubInThread) -> None:
    """The product page's second entry."""
    for arguments in (("nodes", "ls"), ("doctor",)):
        result = at(hub, "127.0.0.1:1", *arguments)
        assert result.code == 1
        assert "onnection refused" in result.err
        assert "a load balancer must expose it and forward it as gRPC/h2c (HTTP/2 cleartext)" in result.err


def test_the_hub_tests_its_public_addresses(hub: HubInThread) -> None:
    """There is no balancer; tests/hub/test_balancer_probe.py has real ones."""
    result = hub.mezctl("doctor", "--lb", "--idle=1s", "--format=json")
    assert (result.code, result.err) == (0, "")
    assert steps(result)["auth: HTTP/2 call"]["detail"] == "cluster test"
    assert result.json["nginx"].startswith("# On the hub: ")
    assert "listen mezite_tunnel" in result.json["haproxy"]
    text = hub.mezctl("doctor", "--lb", "--idle=1s")
    assert "\n# nginx, for these ports:\n" in text.out


@pytest.mark.parametrize(("idle", "code"), [("soon", 2), ("51s", 1)])
def test_a_silence_that_cannot_be_tried(hub: HubInThread, idle: str, code: int) -> None:
    assert hub.mezctl("doctor", "--lb", f"--idle={idle}").code == code


def test_the_self_test_is_for_administrators(hub: HubInThread, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, "curious")
    result = run("mezctl", "doctor", "--lb", environ={"MSH_HOME": str(tmp_path)})
    assert result.code == 1
    assert result.out == ""
