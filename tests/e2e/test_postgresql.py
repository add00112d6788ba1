# SPDX-License-Identifier: Apache-2.0
"""The same hub on PostgreSQL."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from mezite.cli.program_path import program_command
from mezite.testing.postgres import run_postgres
from tests.e2e.harness import ME, clean_environment, running_cluster

pytestmark = pytest.mark.e2e


def test_a_session_on_a_hub_that_keeps_its_state_in_postgresql(tmp_path: Path) -> None:
    with (
        run_postgres() as server,
        running_cluster(tmp_path, database={"url": server.create_database("hub")}) as cluster,
    ):
        cluster.start_agent("web-1")
        cluster.login()
        command = [*program_command("msh"), "ssh", f"{ME}@web-1", "id -un; exit 5"]
        result = subprocess.run(
            command,
            env=clean_environment(cluster.msh_environment()),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.stdout, result.returncode) == (f"{ME}\n", 5), result.stderr
        (end,) = cluster.audit("--type=session.end")
        assert end["exit_status"] == 5
        assert not list((tmp_path / "hub").glob("*.db"))
        (node,) = json.loads(cluster.msh("ls", "--format=json").stdout)
        assert (node["name"], node["status"]) == ("web-1", "online")
