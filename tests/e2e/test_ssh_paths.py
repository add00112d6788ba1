# SPDX-License-Identifier: Apache-2.0
"""Every way in which a user reaches a node: msh, and the stock OpenSSH client by three routes."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mezite.cli.program_path import program_command
from tests.e2e.harness import ME, S_CLIENT, Cluster, Daemon, clean_environment, program

pytestmark = pytest.mark.e2e

MEGABYTES = 200


def ssh_config(cluster: Cluster) -> list[str]:
    return ["ssh", "-F", str(cluster.ssh_config())]


def jump_command(cluster: Cluster) -> list[str]:
    """`ssh -J`: the options of the jump host have to come from a file."""
    identity = cluster.folder / "identity"
    if not identity.exists():
        cluster.login("admin", "--out", str(identity), home="unused")
    host, port = cluster.addresses["ssh"].split(":")
    config = cluster.folder / "jump.ssh_config"
    config.write_text(
        f"Host *\n  IdentityFile {identity}\n  CertificateFile {identity}-cert.pub\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {identity}.known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    return ["ssh", "-F", str(config), "-J", f"admin@{host}:{port}"]


def proxy_command(cluster: Cluster) -> list[str]:
    """`ProxyCommand ssh -W`: the hub's port 3023 without msh in the data path."""
    jump = jump_command(cluster)
    host, port = cluster.addresses["ssh"].split(":")
    return ["ssh", "-F", jump[2], "-o", f"ProxyCommand=ssh -F {jump[2]} -p {port} -W %h:%p admin@{host}"]


ROUTES = {
    "config": lambda cluster: [*ssh_config(cluster), f"{ME}@web-1.mezite"],
    "jump": lambda cluster: [*jump_command(cluster), f"{ME}@web-1"],
    "proxycommand": lambda cluster: [*proxy_command(cluster), f"{ME}@web-1"],
    "msh": lambda _cluster: [*program_command("msh"), "ssh", f"{ME}@web-1"],
}


@pytest.fixture(params=sorted(ROUTES))
def route(request: pytest.FixtureRequest, cluster: Cluster) -> list[str]:
    return ROUTES[request.param](cluster)


def run(cluster: Cluster, command: list[str], **more: object) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        command,
        env=clean_environment(cluster.msh_environment()),
        capture_output=True,
        timeout=60,
        check=False,
        **more,
    )


@pytest.mark.parametrize("status", [0, 7, 255])
def test_exit_status_is_the_commands(cluster: Cluster, route: list[str], status: int) -> None:
    result = run(cluster, [*route, f"id -un; exit {status}"], stdin=subprocess.DEVNULL)
    assert (result.stdout.decode(), result.returncode) == (f"{ME}\n", status), result.stderr.decode()


def test_standard_streams_are_told_apart(cluster: Cluster, route: list[str]) -> None:
    result = run(cluster, [*route, "cat; echo oops >&2"], input=b"through and back")
    assert result.stdout == b"through and back"
    assert b"oops" in result.stderr


def test_a_node_by_its_full_name(cluster: Cluster) -> None:
    """As `msh config` has it."""
    result = cluster.run([*jump_command(cluster), f"{ME}@WEB-1.mezite", "id", "-un"])
    assert result.stdout == f"{ME}\n"


@pytest.mark.parametrize("name", ["config", "jump"])
def test_bulk_up_arrives_whole(cluster: Cluster, name: str) -> None:
    data = os.urandom(1 << 20) * MEGABYTES
    result = run(cluster, [*ROUTES[name](cluster), "sha256sum"], input=data)
    assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest(), result.stderr.decode()


@pytest.mark.parametrize("name", ["config", "jump"])
def test_bulk_down_arrives_whole(cluster: Cluster, name: str, tmp_path: Path) -> None:
    source = tmp_path / "bulk"
    source.write_bytes(os.urandom(1 << 20) * MEGABYTES)
    result = run(cluster, [*ROUTES[name](cluster), f"cat {source}"], stdin=subprocess.DEVNULL)
    assert hashlib.sha256(result.stdout).hexdigest() == hashlib.sha256(source.read_bytes()).hexdigest()


def read_until(descriptor: int, wanted: bytes, seconds: float = 20) -> bytes:
    seen = b""
    deadline = time.monotonic() + seconds
    while wanted not in seen:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        assert ready, f"no {wanted!r} in {seen!r}"
        seen += os.read(descriptor, 65536)
    return seen


@pytest.mark.parametrize("name", ["config", "msh"])
def test_a_terminal_is_resized(cluster: Cluster, name: str) -> None:
    parent, child = pty.openpty()
    set_size(child, 40, 100)
    command = ROUTES[name](cluster)
    # ssh may send what is typed before it tells of a new size, so the shell looks until it sees one.
    looks = 'i=0; while [ "$(stty size)" = "40 100" ] && [ $i -lt 400 ]; do i=$((i+1)); sleep 0.05; done'
    script = f"stty size; {looks}; stty size"
    # setsid --ctty: without a controlling terminal nobody tells ssh that its window has changed.
    process = subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command[:-1], "-tt", command[-1], script],
        stdin=child,
        stdout=child,
        stderr=child,
        env=clean_environment(cluster.msh_environment()),
    )
    os.close(child)
    try:
        read_until(parent, b"40 100")
        set_size(parent, 55, 132)
        read_until(parent, b"55 132")
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        os.close(parent)


def set_size(descriptor: int, rows: int, columns: int) -> None:
    import fcntl
    import struct
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def test_sessions_are_audited(cluster: Cluster) -> None:
    marker = f"echo audited-{os.getpid()}"
    assert (
        run(cluster, [*ROUTES["config"](cluster), f"{marker}; exit 3"], stdin=subprocess.DEVNULL).returncode
        == 3
    )
    starts = [event for event in cluster.audit("--type=session.start") if marker in str(event["command"])]
    assert len(starts) == 1
    start = starts[0]
    assert (start["user_name"], start["login"], start["resource_name"]) == ("admin", ME, "web-1")
    assert start["event_code"] == "T2000I"
    assert start["client_ip"] == "127.0.0.1"
    assert start["resource_labels"] == {"env": "prod", "team": "platform"}
    ends = [
        event for event in cluster.audit("--type=session.end") if event["session_id"] == start["session_id"]
    ]
    assert [event["exit_status"] for event in ends] == [3]


def test_login_and_join_are_audited(cluster: Cluster) -> None:
    seen = {str(event["event_type"]) for event in cluster.audit()}
    assert {
        "user.login",
        "user.cert.issued",
        "node.joined",
        "token.created",
        "token.used",
        "hub.started",
    } <= seen
    sequence = sorted(int(str(event["seq"])) for event in cluster.audit())
    assert sequence == list(range(sequence[0], sequence[0] + len(sequence)))


def test_what_msh_knows(cluster: Cluster) -> None:
    listed = json.loads(cluster.msh("ls", "--format=json").stdout)
    assert [(node["name"], node["status"], node["logins"]) for node in listed] == [("web-1", "online", [ME])]
    status = json.loads(cluster.msh("status", "--format=json").stdout)
    assert (status["user"], status["cluster"], status["logins"], status["expired"]) == (
        "admin",
        "mezite",
        [ME],
        False,
    )
    nodes = json.loads(cluster.mezctl("nodes", "ls", "--format=json").stdout)
    assert {"name", "status", "labels", "agent_id", "version", "last_seen", "hub_id"} <= set(nodes[0])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT.*Z", nodes[0]["last_seen"])


def test_scp_and_rsync_use_the_printed_configuration(cluster: Cluster, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(300_000))
    config = str(cluster.ssh_config())
    host = f"{ME}@web-1.mezite"
    assert run(cluster, ["scp", "-q", "-F", config, str(source), f"{host}:{target}"]).returncode == 0
    assert target.read_bytes() == source.read_bytes()
    target.unlink()
    result = run(cluster, ["rsync", "-e", f"ssh -F {config}", str(source), f"{host}:{target}"])
    assert result.returncode == 0, result.stderr.decode()
    assert target.read_bytes() == source.read_bytes()


def test_python_is_the_same(cluster: Cluster) -> None:
    """The programs under test are this checkout's, not some other installation's."""
    version = cluster.run([sys.executable, "-m", "mezite.cli.msh", "--version"]).stdout
    assert version == "msh 0.1.0.dev0\n"


def test_ssh_inside_tls(cluster: Cluster) -> None:
    """The hub ends the outer session itself; what is inside is the SSH of any other route."""
    jump = jump_command(cluster)
    address = cluster.addresses["ssh"]
    roots = cluster.folder / "msh" / address.partition(":")[0] / "ca.pem"
    tls = f"{S_CLIENT} -CAfile {roots} -connect {address}"
    config = cluster.folder / "tls.ssh_config"
    config.write_text(
        f"Include {jump[2]}\n"
        f"Host hub\n  User admin\n  HostKeyAlias {address.partition(':')[0]}\n  ProxyCommand {tls}\n"
        f"Host web-1\n  User {ME}\n  ProxyJump hub\n"
    )
    result = run(cluster, ["ssh", "-F", str(config), "web-1", "echo made it"], stdin=subprocess.DEVNULL)
    assert result.stdout == b"made it\n", result.stderr.decode()


def test_a_machine_identity_goes_every_way_until_it_is_locked(cluster: Cluster, tmp_path: Path) -> None:
    made = cluster.mezctl("identities", "create", "ci", "--roles=access", f"--traits=logins={ME}")
    folder = tmp_path / "identity"
    environment = {
        "MEZITE_DESTINATION": str(folder),
        "MEZITE_AUTH_ADDR": cluster.addresses["auth"],
        "MEZITE_JOIN_TOKEN": made.stdout.strip(),
    }
    command = program("mezd", "identity", "start")
    daemon = Daemon(command, clean_environment(environment), tmp_path / "identity.log")
    try:
        daemon.wait_for(lambda line: '"identity issued"' in line)
        host, port = cluster.addresses["ssh"].split(":")
        jump = tmp_path / "jump.ssh_config"
        jump.write_text(
            f"Host *\n  IdentityFile {folder}/key\n  IdentitiesOnly yes\n  GlobalKnownHostsFile none\n"
            f"  UserKnownHostsFile {folder}/known_hosts\n  StrictHostKeyChecking yes\n"
        )
        ways = [
            [*program("msh", "ssh"), f"{ME}@web-1"],
            ["ssh", "-F", str(jump), "-J", f"ci@{host}:{port}", f"{ME}@web-1"],
            ["ssh", "-F", str(folder / "ssh_config"), f"{ME}@web-1.mezite"],
        ]
        home = {"MSH_HOME": str(folder)}
        for way in ways:
            done = cluster.run([*way, "id -un; exit 3"], environment=home, check=False)
            assert (done.stdout, done.returncode) == (f"{ME}\n", 3), done.stderr
        cluster.mezctl("locks", "create", "--user=ci", "--message=retired")
        refused = cluster.run([*ways[-1], "id -un"], environment=home, check=False)
        assert (refused.stdout, refused.returncode) == ("", 255)
        assert "user ci is locked" in refused.stderr
    finally:
        assert daemon.stop() == 0
