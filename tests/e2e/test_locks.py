# SPDX-License-Identifier: Apache-2.0
"""Locks against real programs: what runs is cut, fast, and its user is told why (threat E14)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mezite.cli.program_path import program_command
from tests.e2e.harness import ME, PASSWORD, Cluster, clean_environment

pytestmark = pytest.mark.e2e

MESSAGE = "lost laptop, ask Ann"


def add_user(cluster: Cluster, name: str, roles: str = "access") -> None:
    """Somebody who may log in on the node, with the files for stock ssh."""
    options = [f"--roles={roles}", f"--traits=logins={ME}", "--password-stdin"]
    cluster.mezctl("users", "create", name, *options, stdin=PASSWORD)
    cluster.login(name, "--out", str(cluster.folder / f"{name}_id"), home="unused")


def stock_ssh(cluster: Cluster, name: str) -> list[str]:
    identity, (host, port) = cluster.folder / f"{name}_id", cluster.addresses["ssh"].split(":")
    config = cluster.folder / f"{name}.jump"
    config.write_text(
        f"Host *\n  IdentityFile {identity}\n  CertificateFile {identity}-cert.pub\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {identity}.known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    return ["ssh", "-F", str(config), "-J", f"{name}@{host}:{port}", f"{ME}@web-1"]


def routes(cluster: Cluster, name: str) -> dict[str, list[str]]:
    return {
        "ssh -J": stock_ssh(cluster, name),
        "ssh and msh proxy": ["ssh", "-F", str(cluster.ssh_config(name)), f"{ME}@web-1.mezite"],
        "msh ssh": [*program_command("msh"), "ssh", f"{ME}@web-1"],
    }


@contextmanager
def session(cluster: Cluster, name: str, command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A command on the node that has begun and would go on for ever."""
    with subprocess.Popen(
        [*command, "echo begun; exec sleep 600"],
        env=clean_environment(cluster.msh_environment(name)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str]) -> str:
    """What a session that was cut told its user."""
    _out, err = process.communicate(timeout=30)
    assert process.returncode == 255, err
    return err


def live_sessions(cluster: Cluster) -> list[dict[str, str]]:
    return json.loads(cluster.mezctl("sessions", "ls", "--format=json").stdout)


def test_a_lock_cuts_every_way_in_within_a_second(cluster: Cluster) -> None:
    add_user(cluster, "lena")
    cluster.login("lena", home="lena")
    wanted = routes(cluster, "lena")
    with (
        session(cluster, "lena", wanted["ssh -J"]) as jump,
        session(cluster, "lena", wanted["ssh and msh proxy"]) as proxy,
        session(cluster, "lena", wanted["msh ssh"]) as msh,
    ):
        assert [row["user"] for row in live_sessions(cluster)] == ["lena"] * 3
        answer = cluster.mezctl(
            "locks", "create", "--user=lena", f"--message={MESSAGE}", "--format=json"
        ).stdout
        lock = json.loads(answer)
        reason = f"user lena is locked (lock {lock['id']}): {MESSAGE}"
        for process in (jump, proxy, msh):
            assert reason in said(process)
        assert lock["sessions_cut"] == 3
        assert lock["slowest_ms"] <= 1000
    assert live_sessions(cluster) == []
    ends = cluster.audit("--type=session.end")
    assert [end["reason"] for end in ends if end["user_name"] == "lena"] == [reason] * 3
    (listed,) = json.loads(cluster.mezctl("locks", "ls", "--format=json").stdout)
    assert (listed["id"], listed["sessions_cut"]) == (lock["id"], 3)
    refused = cluster.msh("ls", home="lena", check=False)
    assert refused.returncode != 0
    assert reason in refused.stderr
    cluster.mezctl("locks", "rm", lock["id"])
    cluster.msh("ls", home="lena")


def test_one_session_is_ended_and_the_other_goes_on(cluster: Cluster) -> None:
    add_user(cluster, "kim")
    command = stock_ssh(cluster, "kim")
    with session(cluster, "kim", command) as other:
        (kept,) = live_sessions(cluster)
        with session(cluster, "kim", command) as process:
            (ended,) = [row for row in live_sessions(cluster) if row["id"] != kept["id"]]
            cluster.mezctl("sessions", "kill", ended["id"], "--reason=looks odd")
            assert "ended by admin: looks odd" in said(process)
        assert live_sessions(cluster) == [kept]
        assert other.poll() is None
    shown = json.loads(cluster.mezctl("sessions", "get", ended["id"], "--format=json").stdout)
    assert (shown["killed_by"], shown["kill_reason"]) == ("admin", "looks odd")


def test_an_idle_session_ends(cluster: Cluster) -> None:
    role = cluster.folder / "idle.yaml"
    role.write_text(
        "kind: role\nversion: v1\nmetadata: {name: idle}\nspec:\n  options: {idle_timeout: 1s, pin_source_ip: true}\n"
        "  allow: {node_labels: {'*': '*'}, logins: ['{{internal.logins}}']}\n"
    )
    cluster.mezctl("roles", "create", f"--from-file={role}")
    add_user(cluster, "ida", roles="idle")
    with session(cluster, "ida", stock_ssh(cluster, "ida")) as process:
        words = "nothing was sent for 1s, which is as long as your roles allow"
        assert words in said(process)
    (end,) = [end for end in cluster.audit("--type=session.end") if end["user_name"] == "ida"]
    assert words in end["reason"]
