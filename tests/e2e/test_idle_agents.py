# SPDX-License-Identifier: Apache-2.0
"""Target T7: what an idle agent costs its hub, in a small fleet; `python -m bench.idle_agents` asks thousands."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from bench.agent_fleet import enroll, running_fleet
from bench.idle_agents import cluster_for
from bench.machine import resident_bytes

pytestmark = pytest.mark.e2e

FEW, MANY = 20, 70
MOST_BYTES = 300 * 1024
"""For each further agent. 85 KiB were measured with a thousand, 140 to 161 with so few, whose arrival counts too."""


def test_an_idle_agent_costs_little_memory(tmp_path: Path) -> None:
    cluster = cluster_for(tmp_path, MANY)
    members = trio.run(enroll, str(cluster.config), MANY)
    cluster.start_hub()
    try:
        assert cluster.hub is not None
        hub, tunnel = cluster.hub.process.pid, cluster.addresses["tunnel"]
        with running_fleet(members[:FEW], tunnel, 1) as first:
            first.wait_connected()
            before = resident_bytes(hub)
            with running_fleet(members[FEW:], tunnel, 1) as rest:
                rest.wait_connected()
                each = (resident_bytes(hub) - before) / (MANY - FEW)
    finally:
        cluster.stop()
    assert each < MOST_BYTES
