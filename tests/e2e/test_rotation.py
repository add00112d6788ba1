# SPDX-License-Identifier: Apache-2.0
"""Stock ssh while all three CAs behind it are replaced: user SSH, host SSH and host TLS (threat F5)."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import Cluster, clean_environment

pytestmark = pytest.mark.e2e

CAS = "--type=user-ssh,host-ssh,host-tls"
ASK_AGAIN_SECONDS = 0.2
PATIENCE_SECONDS = 40


def ssh(cluster: Cluster, config: Path, node: str) -> subprocess.CompletedProcess[str]:
    return cluster.run(
        ["ssh", "-F", str(config), f"{node}.mezite", "echo", "reached"],
        check=False,
        environment=cluster.msh_environment(config.name.removesuffix(".ssh_config")),
    )


def status(cluster: Cluster) -> dict[str, Any]:
    text = cluster.mezctl("auth", "rotate", CAS, "--status", "--format=json").stdout
    return {rotation["type"]: rotation for rotation in json.loads(text)["rotations"]}


def until_seen(cluster: Cluster) -> None:
    """Until the agents have stored the new keys and have said so: that is what an administrator can see."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = status(cluster)
        ready = found["user-ssh"]["step"] == "overlap" and not found["host-tls"]["agents_waiting"]
        if ready or time.monotonic() > deadline:
            assert ready, found
            return
        time.sleep(ASK_AGAIN_SECONDS)


class HeldSession:
    """An ssh that stays, and answers."""

    def __init__(self, cluster: Cluster, config: Path) -> None:
        self.process = subprocess.Popen(
            ["ssh", "-F", str(config), "web-1.mezite", "cat"],
            env=clean_environment(cluster.msh_environment()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answers(self, word: str) -> bool:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline() == f"{word}\n"

    def end(self) -> int:
        self.process.communicate(timeout=20)
        return self.process.returncode


def test_ssh_goes_on_through_all_of_it(fresh_cluster: Cluster) -> None:
    cluster = fresh_cluster
    cluster.start_agent("web-1")
    cluster.login()
    config = cluster.ssh_config()
    held = HeldSession(cluster, config)
    assert held.answers("before")
    shutil.copytree(cluster.folder / "msh", cluster.folder / "old")
    old = cluster.ssh_config("old")
    old_pin = cluster.pin

    begun = cluster.mezctl("auth", "rotate", CAS)
    assert begun.stdout.count("a new key is published") == 3
    until_seen(cluster)
    cluster.login()
    known_hosts = next((cluster.folder / "msh").glob("*/known_hosts")).read_text()
    assert known_hosts.count("@cert-authority * ssh-ed25519 ") == 2

    # The two that wait a day for other clients: here there are none.
    cluster.mezctl("auth", "rotate", "--type=host-ssh,host-tls", "--force")
    assert cluster.mezhub("ca-pin", "--config", str(cluster.config)).stdout.strip() != old_pin
    # The token has the new pin; mezctl goes on with the old one, which leads to it.
    cluster.start_agent("web-2")
    for home in (config, old):
        for node in ("web-1", "web-2"):
            result = ssh(cluster, home, node)
            assert (result.returncode, result.stdout) == (0, "reached\n"), result.stderr
    assert held.answers("both are trusted")

    dropped = cluster.mezctl("auth", "rotate", CAS, "--force")
    assert dropped.stdout.count("the former key is not trusted any more") == 3
    until_gone(cluster)
    result = ssh(cluster, config, "web-2")
    assert (result.returncode, result.stdout) == (0, "reached\n"), result.stderr
    refused = ssh(cluster, old, "web-2")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    assert held.answers("after")
    assert held.end() == 0
    steps = [(event["resource_name"], event["step"]) for event in cluster.audit("--type=ca.rotated")]
    assert sorted(steps) == sorted(
        (name, step)
        for name in ("user-ssh", "host-ssh", "host-tls")
        for step in ("published", "activated", "dropped")
    )


def until_gone(cluster: Cluster) -> None:
    """Until the agents trust no former key: their files say so."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    files = [cluster.folder / "agents" / name / "agent" / "user_ca.pub" for name in ("web-1", "web-2")]
    while any(len(file.read_text().splitlines()) != 1 for file in files):
        assert time.monotonic() < deadline
        time.sleep(ASK_AGAIN_SECONDS)
