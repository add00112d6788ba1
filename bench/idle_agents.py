# SPDX-License-Identifier: Apache-2.0
"""Resident memory of a hub per idle agent, at most 64 KiB (T7), and how long it lets others wait (P13).

    python -m bench.idle_agents [--agents 1000] [--seconds 20]

A real mezhub and real tunnels on loopback: mutual TLS, multiplexer, API channel and heartbeats as mezd has them, in two
processes. The memory is the hub's resident set with all agents connected and idle, less what it was with a tenth of
them, so that what is loaded only once does not count. The wait is that of a client asking ``/healthz`` over a
kept connection a hundred times a second: whatever blocks the hub's loop shows there.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import tempfile
import time
from pathlib import Path

import trio

from bench.agent_fleet import enroll, running_fleet
from bench.machine import print_facts, quantile, resident_bytes
from tests.e2e.harness import Cluster

PROBES_PER_SECOND = 100


def cluster_for(folder: Path, agents: int) -> Cluster:
    """A cluster whose hub takes so many agents from one address."""
    cluster = Cluster(folder)
    cluster.write_config()
    # The harness knows nothing of limits: what it writes for the proxy is kept and added to.
    proxy = json.loads(cluster.config.read_text())["proxy"]
    cluster.settings["proxy"] = {**proxy, "max_connections_per_ip": agents * 2 + 100}
    cluster.write_config()
    return cluster


def waits(address: str, seconds: float) -> list[float]:
    """How long the hub took to answer, again and again."""
    host, port = address.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    taken = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        started = time.monotonic()
        connection.request("GET", "/healthz")
        connection.getresponse().read()
        taken.append(time.monotonic() - started)
        time.sleep(1 / PROBES_PER_SECOND)
    connection.close()
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=20, help="of idling with all agents")
    options = parser.parse_args()
    print_facts("bench.idle_agents")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        cluster = cluster_for(Path(name), options.agents)
        print(f"enrolling {options.agents} agents", flush=True)
        members = trio.run(enroll, str(cluster.config), options.agents)
        cluster.start_hub()
        stack.callback(cluster.stop)
        assert cluster.hub is not None
        hub, tenth = cluster.hub.process.pid, options.agents // 10
        measure(cluster, hub, members, tenth, options.seconds, stack)


def measure(
    cluster: Cluster, hub: int, members, tenth: int, seconds: float, stack: contextlib.ExitStack
) -> None:
    tunnel, diag = cluster.addresses["tunnel"], cluster.addresses["diag"]
    print(f"connecting them, the first {tenth} alone", flush=True)
    empty = resident_bytes(hub)
    first = stack.enter_context(running_fleet(members[:tenth], tunnel, 1))
    first.wait_connected()
    waits(diag, 3)
    few = resident_bytes(hub)
    started = time.monotonic()
    rest = stack.enter_context(running_fleet(members[tenth:], tunnel))
    took = rest.wait_connected() - started
    busy = waits(diag, 5)
    idle = waits(diag, seconds)
    many = resident_bytes(hub)
    each = (many - few) / (len(members) - tenth) / 1024
    print(
        f"hub: {empty / 1e6:.0f} MB alone, {few / 1e6:.0f} MB with {tenth} agents, "
        f"{many / 1e6:.0f} MB with {len(members)}: {each:.1f} KiB for each further agent (goal 100)"
    )
    print(f"{len(members) - tenth} agents connected in {took:.1f} s, starting their processes included")
    for name, values in (("first heartbeats", busy), ("idle", idle)):
        p50, p99, worst = (1e3 * quantile(values, share) for share in (0.5, 0.99, 1))
        print(f"answer to /healthz, {name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.0f} ms")


if __name__ == "__main__":
    main()
