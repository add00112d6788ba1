# SPDX-License-Identifier: Apache-2.0
"""One asks, another says yes, and stock ssh gets in; until it is taken back."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mezite.cli.program_path import program_command
from tests.e2e.harness import ME, PASSWORD, clean_environment, running_cluster

pytestmark = pytest.mark.e2e

ROLE = f"""
kind: role
version: v1
metadata: {{name: oncall}}
spec:
  allow:
    request_resources: {{nodes: [db-1]}}
    logins: [{ME}]
"""


def test_one_asks_another_approves(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        cluster.start_agent("db-1")
        role = tmp_path / "role.yaml"
        role.write_text(ROLE)
        cluster.mezctl("roles", "create", f"--from-file={role}")
        cluster.mezctl("users", "create", "alice", "--roles=oncall", "--password-stdin", stdin=PASSWORD)
        cluster.login("alice")
        config = str(cluster.ssh_config())

        def ssh() -> subprocess.CompletedProcess[str]:
            """Stock ssh with what `msh config` prints."""
            command = ["ssh", "-F", config, f"{ME}@db-1.mezite", "echo inside"]
            return cluster.run(command, check=False, environment=cluster.msh_environment())

        before = ssh()
        assert (before.returncode, before.stdout) == (255, "")
        assert "not found, or you have no login there" in before.stderr
        wanted = ["request", "create", "--nodes=db-1", "--reason=disk full", "--ttl=30m", "--wait"]
        waiting = subprocess.Popen(
            [*program_command("msh"), *wanted],
            env=clean_environment(cluster.msh_environment()),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert waiting.stderr is not None
            assert "waiting for reviewers" in waiting.stderr.readline()
            (asked,) = json.loads(cluster.mezctl("requests", "ls", "--format=json").stdout)
            assert (asked["user"], asked["nodes"], asked["reason"]) == ("alice", ["db-1"], "disk full")
            cluster.mezctl("requests", "approve", asked["id"])
            out, err = waiting.communicate(timeout=30)
        finally:
            waiting.kill()
            waiting.wait()
        assert (waiting.returncode, out) == (0, f"request {asked['id']} is approved\n"), err
        assert ssh().stdout == "inside\n"
        cluster.mezctl("requests", "revoke", asked["id"])
        after = ssh()
        assert (after.returncode, after.stdout) == (255, "")
        told = [event["event_type"] for event in cluster.audit() if event["resource_name"] == asked["id"]]
        assert sorted(told) == [f"access_request.{end}" for end in ("approved", "created", "revoked")]
