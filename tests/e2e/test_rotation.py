# SPDX-License-Identifier: Apache-2.0
"""Stock ssh while all three CAs behind it are replaced: user SSH, host SSH and host TLS (threat F5)."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.e2e.harness import Cluster, clean_environment, running_cluster

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


@attrs.frozen
class Rotation:
    """A cluster in the middle of it, with an ssh that was there before."""

    cluster: Cluster
    held: HeldSession
    new: Path
    old: Path
    """The configurations of a login after the rotation began, and of one before it."""


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rotation]:
    with running_cluster(tmp_path_factory.mktemp("rotation")) as cluster:
        cluster.start_agent("web-1")
        cluster.login()
        config = cluster.ssh_config()
        held = HeldSession(cluster, config)
        assert held.answers("before")
        shutil.copytree(cluster.folder / "msh", cluster.folder / "old")
        begun = cluster.mezctl("auth", "rotate", CAS)
        assert begun.stdout.count("a new key is published") == 3
        until_seen(cluster)
        yield Rotation(cluster, held, config, cluster.ssh_config("old"))
        held.process.kill()
        held.process.communicate()


@pytest.fixture(scope="module")
def activated(published: Rotation) -> Rotation:
    """`user-ssh` is so by itself; the two that wait a day for other clients are told that there are none."""
    cluster = published.cluster
    cluster.login()
    cluster.mezctl("auth", "rotate", "--type=host-ssh,host-tls", "--force")
    cluster.start_agent("web-2")
    return published


def reaches(rotation: Rotation, config: Path, node: str) -> None:
    result = ssh(rotation.cluster, config, node)
    assert (result.returncode, result.stdout) == (0, "reached\n"), result.stderr


def test_while_the_new_keys_are_published(published: Rotation) -> None:
    reaches(published, published.old, "web-1")
    assert published.held.answers("published")


def test_while_both_are_trusted(activated: Rotation) -> None:
    known_hosts = next((activated.cluster.folder / "msh").glob("*/known_hosts")).read_text()
    assert known_hosts.count("@cert-authority * ssh-ed25519 ") == 2
    reaches(activated, activated.new, "web-1")
    reaches(activated, activated.old, "web-2")
    assert activated.held.answers("both are trusted")


def test_when_the_old_keys_are_gone(activated: Rotation) -> None:
    cluster = activated.cluster
    # Who is online has certificates by the new keys at once, and does not miss the old ones.
    cluster.agents["web-1"].wait_for(lambda line: '"identity renewed"' in line)
    dropped = cluster.mezctl("auth", "rotate", CAS, "--force")
    assert dropped.stdout.count("the former key is not trusted any more") == 3
    until_gone(cluster)
    reaches(activated, activated.new, "web-2")
    refused = ssh(cluster, activated.old, "web-2")
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr
    assert activated.held.answers("after")
    assert activated.held.end() == 0
    cluster.agents["web-1"].stop()
    cluster.start_agent("web-1", MEZITE_JOIN_TOKEN="")
    reaches(activated, activated.new, "web-1")
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
