# SPDX-License-Identifier: Apache-2.0
"""What goes wrong in practice: each failure has its message, its exit code and its bound in time."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
import trio

from mezite.cli.hub_client.profile_store import CurrentProfile, ProfileStore
from mezite.cli.program_path import program_command
from mezite.config.loader import load_hub_config
from mezite.core.certificates.openssh_key import public_line_of_private_key
from mezite.hub.ground import open_ground
from mezite.services.authorities.certificate_authority import UserCertificateRequest
from mezite.services.sources import system_sources
from tests.e2e.harness import ME, PASSWORD, Cluster, Daemon, clean_environment, program

pytestmark = pytest.mark.e2e

FAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"


def clock(offset: str) -> dict[str, str]:
    """An environment in which a program's wall clock is off; its monotonic clock is not."""
    assert Path(FAKETIME).exists(), "install Debian's faketime"
    return {"LD_PRELOAD": FAKETIME, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def ssh(
    cluster: Cluster, *arguments: str, home: str = "msh", environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program_command("msh"), "ssh", *arguments],
        env=clean_environment(cluster.msh_environment(home) | (environment or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


# --- joining -------------------------------------------------------------------------------------------------


def refused(cluster: Cluster, name: str, **environment: str) -> str:
    result = cluster.try_agent(name, **environment)
    assert result.returncode == 1, result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.stderr
    return errors[0]


def test_a_wrong_token(cluster: Cluster) -> None:
    wrong = f"mzt_{'A' * 43}.{cluster.pin.removeprefix('sha256:')}"
    error = refused(cluster, "n1", MEZITE_JOIN_TOKEN=wrong)
    assert "the join token is not known here" in error
    assert "mezctl tokens create" in error


def test_a_damaged_token(cluster: Cluster) -> None:
    error = refused(cluster, "n1", MEZITE_JOIN_TOKEN=cluster.join_token()[:-5])
    assert "59 digits instead of 64" in error


def test_no_token(cluster: Cluster) -> None:
    error = refused(cluster, "n1")
    assert "MEZITE_JOIN_TOKEN" in error


def test_a_used_token(cluster: Cluster) -> None:
    token = cluster.join_token()
    cluster.start_agent("uses-token", MEZITE_JOIN_TOKEN=token).stop()
    error = refused(cluster, "n2", MEZITE_JOIN_TOKEN=token)
    assert "the join token has been used already" in error


def test_an_expired_token(cluster: Cluster) -> None:
    token = cluster.mezctl("tokens", "create", "--ttl=1s").stdout.strip()
    threading.Event().wait(1.2)
    error = refused(cluster, "n3", MEZITE_JOIN_TOKEN=token)
    assert "the join token has expired" in error


def test_a_wrong_pin(cluster: Cluster) -> None:
    error = refused(cluster, "n4", MEZITE_JOIN_TOKEN=cluster.join_token(), MEZITE_CA_PIN=f"sha256:{'0' * 64}")
    assert "is not the one that the CA pin names" in error
    assert cluster.pin in error


@pytest.mark.parametrize(("offset", "text"), [("-10m", "behind"), ("+10m", "ahead of")])
def test_a_clock_that_is_ten_minutes_off(cluster: Cluster, offset: str, text: str) -> None:
    """Threat F6."""
    error = refused(cluster, "n5", MEZITE_JOIN_TOKEN=cluster.join_token(), **clock(offset))
    assert "this machine's clock is 10m" in error or "this machine's clock is 9m59s" in error
    assert f"{text} the hub's" in error


def test_a_name_that_is_taken_gives_the_token_back(cluster: Cluster) -> None:
    """Threat B1."""
    token = cluster.join_token()
    error = refused(cluster, "again", MEZITE_JOIN_TOKEN=token, MEZITE_NODE_NAME="web-1")
    assert "node name web-1 belongs to agent" in error
    cluster.start_agent("another", MEZITE_JOIN_TOKEN=token).stop()


def test_the_https_port_instead_of_the_tunnel_port(cluster: Cluster) -> None:
    agent = cluster.start_agent("misdirected", wait=False, MEZITE_PROXY_ADDR=cluster.addresses["web"])
    line = json.loads(agent.wait_for(lambda line: "cannot reach the hub" in line))
    assert "must point to the tunnel port (3024), not the HTTPS port" in line["reason"]
    assert agent.stop() == 0


def test_a_copied_identity_is_found_and_locked(cluster: Cluster) -> None:
    agent = cluster.start_agent("copied")
    agent.stop()
    source = cluster.folder / "agents" / "copied"
    index = json.loads((source / "agent" / "identity.json").read_text())
    trio.run(renew_elsewhere, cluster, index["agent_id"])
    again = Daemon(
        program("mezd", "start"), cluster.agent_environment("copied"), cluster.folder / "copied.log"
    )
    cluster.agents["copied again"] = again
    line = json.loads(again.wait_for(lambda line: "ends the tunnel" in line or "cannot reach" in line))
    assert "its identity is in use in two places" in line["reason"]
    assert [event["resource_name"] for event in cluster.audit("--type=lock.created")] == [index["agent_id"]]
    again.stop()


async def renew_elsewhere(cluster: Cluster, agent_id: str) -> None:
    """What the hub sees of a copy that renews and goes on."""
    from mezite.storage import agents

    config = load_hub_config(str(cluster.config), {})
    async with open_ground(config, system_sources()) as ground:
        await ground.database.write(agents.renew_generation, agent_id=agent_id, presented=1, now=1)
        await ground.database.write(agents.confirm_generation, agent_id=agent_id, presented=2, now=1)


# --- connecting ----------------------------------------------------------------------------------------------


def test_an_unknown_node(cluster: Cluster) -> None:
    result = ssh(cluster, f"{ME}@nosuch", "true")
    assert result.returncode == 255
    assert "error: node nosuch: not found" in result.stderr


def test_a_login_that_is_not_allowed(cluster: Cluster) -> None:
    result = ssh(cluster, "nobody@web-1", "true")
    assert result.returncode == 255
    assert "error: login nobody on node web-1 is not allowed" in result.stderr
    event = cluster.audit("--type=access.denied")[0]
    assert (event["login"], event["resource_name"], event["success"]) == ("nobody", "web-1", False)
    assert str(event["id"]) in result.stderr


def test_a_user_without_access_cannot_tell_nodes_from_nothing(cluster: Cluster) -> None:
    cluster.mezctl("users", "create", "guest", "--roles=auditor", "--password-stdin", stdin=PASSWORD)
    cluster.login("guest", home="guest")
    known = ssh(cluster, f"{ME}@web-1", "true", home="guest").stderr
    unknown = ssh(cluster, f"{ME}@web-9", "true", home="guest").stderr
    assert "not found, or you have no login there" in known
    assert strip_event(known).replace("web-1", "web-9") == strip_event(unknown)
    assert json.loads(cluster.msh("ls", "--format=json", home="guest").stdout) == []


def strip_event(text: str) -> str:
    return text.partition("(event")[0]


def test_an_expired_certificate_is_seen_by_msh(cluster: Cluster) -> None:
    result = ssh(cluster, f"{ME}@web-1", "true", environment=clock("+13h"))
    assert result.returncode == 255
    assert "error: your certificate for mezite expired 1h" in result.stderr
    assert "run msh login" in result.stderr


def test_an_expired_certificate_is_seen_by_the_agent(cluster: Cluster) -> None:
    """Stock ssh has no opinion about its own certificate: the node must refuse."""
    cluster.login(home="expired")
    store = ProfileStore(cluster.folder / "expired")
    current = store.current()
    certificate = store.user_directory(current.host, current.user) / "key-cert.pub"
    certificate.write_text(trio.run(expired_certificate, cluster, store, current) + "\n")
    command = ["ssh", "-F", str(cluster.ssh_config("expired")), f"{ME}@web-1.mezite", "true"]
    result = cluster.run(command, check=False, environment=cluster.msh_environment("expired"))
    assert result.returncode == 255
    reasons = [str(event["error_message"]) for event in cluster.audit("--type=access.denied")]
    assert any(
        "the certificate expired 100 s ago" in reason or "expired 10" in reason for reason in reasons
    ), reasons


async def expired_certificate(cluster: Cluster, store: ProfileStore, current: CurrentProfile) -> str:
    config = load_hub_config(str(cluster.config), {})
    async with open_ground(config, system_sources()) as ground:
        request = UserCertificateRequest(
            user_name="admin",
            roles=("admin",),
            traits={},
            principals=(ME,),
            extensions=(),
            ssh_public_key=public_line_of_private_key(store.load(current).ssh_key),
            tls_public_key_pem=b"",
            ttl_seconds=-100,
        )
        return ground.authorities.issue_ssh_user(request, serial=1, now=system_sources().now() // 1000)


def test_an_agent_that_was_killed(cluster: Cluster) -> None:
    agent = cluster.start_agent("mortal")
    assert ssh(cluster, f"{ME}@mortal", "true").returncode == 0
    agent.kill()
    begin = time.monotonic()
    result = ssh(cluster, f"{ME}@mortal", "true")
    assert time.monotonic() - begin < 15
    assert result.returncode == 255
    assert "error: node mortal is offline since 20" in result.stderr
    nodes = json.loads(cluster.mezctl("nodes", "ls", "--format=json").stdout)
    assert {node["name"]: node["status"] for node in nodes}["mortal"] == "offline"


def test_a_hub_that_is_killed_in_the_middle_of_a_session(fresh_cluster: Cluster) -> None:
    cluster = fresh_cluster
    agent = cluster.start_agent("web-1")
    cluster.login()
    session = subprocess.Popen(
        [*program_command("msh"), "ssh", f"{ME}@web-1", "echo ready; sleep 60"],
        env=clean_environment(cluster.msh_environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert session.stdout is not None
    assert session.stdout.readline() == b"ready\n"
    assert cluster.hub is not None
    seen = len(agent.lines)
    cluster.hub.kill()
    _out, error = session.communicate(timeout=20)
    assert session.returncode == 255
    assert b"error: the connection to web-1 was lost" in error
    cluster.start_hub()
    # Ten seconds from a hub that answers: how long a program takes to start is the machine's affair.
    agent.wait_for(lambda line: '"tunnel connected"' in line, after=seen, seconds=10)
    assert ssh(cluster, f"{ME}@web-1", "true").returncode == 0
    ended = cluster.audit("--type=session.end")
    assert "the hub was restarted" in {str(event["reason"]) for event in ended}


def test_the_hub_drains_and_stops(fresh_cluster: Cluster) -> None:
    cluster = fresh_cluster
    agent = cluster.start_agent("web-1")
    assert cluster.hub is not None
    assert cluster.hub.stop(signal.SIGTERM) == 0
    line = json.loads(agent.wait_for(lambda line: "ends the tunnel" in line, seconds=10))
    assert line["reason"] == "the hub is shutting down"
    assert agent.stop() == 0


# --- configuration -------------------------------------------------------------------------------------------


def test_five_mistakes_are_five_lines(tmp_path: Path) -> None:
    config = tmp_path / "hub.yaml"
    config.write_text(
        "cluster_nam: x\n"
        "log: {level: loud}\n"
        "proxy:\n"
        "  listen_addr: nowhere\n"
        "  proxy_protocol: on\n"
        "  max_connections: many\n"
    )
    result = subprocess.run(
        program("mezhub", "check", "--config", str(config)),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert len(lines) == 5, result.stderr
    assert all(line.startswith("error: ") for line in lines)
    for key in (
        "cluster_nam",
        "log.level",
        "proxy.listen_addr",
        "proxy.proxy_protocol",
        "proxy.max_connections",
    ):
        assert any(key in line for line in lines), (key, lines)
    assert "cluster_name" in lines[0]


def test_a_busy_port_is_named(cluster: Cluster, tmp_path: Path) -> None:
    config = tmp_path / "hub.json"
    config.write_text(
        json.dumps({"data_dir": str(tmp_path), "proxy": {"listen_addr": cluster.addresses["web"]}})
    )
    result = subprocess.run(
        program("mezhub", "start", "--config", str(config)),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert result.returncode == 1
    assert f"cannot listen for web on {cluster.addresses['web']}" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_password(cluster: Cluster) -> None:
    result = cluster.mezctl("login", "--username=admin", "--password-stdin", check=False, stdin="wrong")
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: wrong user name or password")
    assert cluster.audit("--type=user.login.failed")[0]["user_name"] == "admin"
