# SPDX-License-Identifier: Apache-2.0
"""A hub goes down and comes back: how long until every agent is routable again.

    python -m bench.reconnect_storm [--simulated 2000] [--real 200] [--rounds 1] [--down 3]

Simulated: agents and hub in one process on a network in memory, with the real accept loop, multiplexer, registry and
reconnect loop on the real clock; the hub's connections are reset. Real: mezhub is killed and started again, agents
with mutual TLS, API channel and heartbeats in two processes lose their connections. The time counts from when the hub
listens again; the waits of the backoff are part of it. Commits are the syncs that strace counts while the real fleet
comes back: tunnels, heartbeats and everything else the hub writes meanwhile.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from bench.agent_fleet import enroll, running_fleet
from bench.idle_agents import cluster_for
from bench.machine import median, print_facts, quantile
from mezite.agent.tunnel_client import TunnelClient
from mezite.net.heap import collect_rarely
from mezite.testing.fault_stream import FaultPlan
from mezite.testing.memory_network import MemoryNetwork
from mezite.testing.simulated_hosts import SimulatedAgent, SimulatedHub, World
from tests.e2e.harness import Cluster

POLL_SECONDS = 0.02
LIMIT_SECONDS = 120


# Simulated agents.


async def simulated(count: int, rounds: int, down: float) -> None:
    """Crash the hub again and again; prints what each time took."""
    world = World(seed=1, network=MemoryNetwork(), line_faults=FaultPlan(), hub_names=("hub",))
    hub = SimulatedHub(world, "hub")
    agents = [SimulatedAgent(world, f"agent-{number}", TunnelClient) for number in range(count)]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hub.run)
        started = trio.current_time()
        for agent in agents:
            nursery.start_soon(agent.run)
        await wait_until(lambda: routable(world) == count)
        print(f"simulated: {count} agents came up in {trio.current_time() - started:.1f} s", flush=True)
        taken = []
        for _ in range(rounds):
            before = world.journal.counts["tunnels"]
            hub.crash(down, power_loss=False)
            await wait_until(lambda: routable(world) == 0)
            await wait_until(lambda: "hub" in world.registries)
            back = trio.current_time()
            lags = await watched(lambda: routable(world) == count)
            taken.append(trio.current_time() - back)
            tunnels = world.journal.counts["tunnels"] - before
            print(
                f"simulated: {count} agents routable {taken[-1]:.1f} s after the hub; {tunnels} tunnels came up; "
                f"loop lag p99 {quantile(lags, 0.99) * 1e3:.0f} ms",
                flush=True,
            )
        print(f"simulated: median of {rounds}: {median(taken):.1f} s (goal for 10,000: 30 s)")
        nursery.cancel_scope.cancel()


def routable(world: World) -> int:
    registry = world.registries.get("hub")
    return 0 if registry is None else registry.statistics().tunnels


async def wait_until(done: Callable[[], bool]) -> None:
    with trio.fail_after(LIMIT_SECONDS):
        while not done():  # noqa: ASYNC110 - what is waited for has no event
            await trio.sleep(POLL_SECONDS)


async def watched(done: Callable[[], bool]) -> list[float]:
    """Wait, and return by how much each wake-up was late."""
    lags = []
    with trio.fail_after(LIMIT_SECONDS):
        while not done():
            due = trio.current_time() + POLL_SECONDS
            await trio.sleep_until(due)
            lags.append(trio.current_time() - due)
    return lags


# Real agents.


@contextlib.contextmanager
def counted_syncs(pid: int, folder: Path) -> Iterator[list[int]]:
    """Count the syncs of a process; the number is in the list when the block has ended."""
    counted: list[int] = []
    trace = folder / "syncs"
    tracer = subprocess.Popen(
        [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-e",
            "trace=fdatasync,fsync",
            "-o",
            str(trace),
            "-p",
            str(pid),
        ],
        stderr=subprocess.DEVNULL,
    )
    try:
        yield counted
    finally:
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        counted.append(len(re.findall(r"f(?:data)?sync\(", trace.read_text())))


def restart(cluster: Cluster, fleet, folder: Path, down: float, count: int) -> float:
    """Kill the hub and start it again; returns seconds until all agents are back."""
    assert cluster.hub is not None
    cluster.hub.kill()
    fleet.wait_disconnected()
    time.sleep(down)
    cluster.start_hub()
    back = time.monotonic()
    with counted_syncs(cluster.hub.process.pid, folder) as syncs:
        took = fleet.wait_connected() - back
    rows = json.loads(cluster.mezctl("nodes", "ls", "--format=json").stdout)
    online = sum(row["status"] == "online" for row in rows)
    print(
        f"real: {count} agents connected {took:.1f} s after the hub, {online} online in the directory; "
        f"{syncs[0]} commits, {syncs[0] / count:.2f} for each agent",
        flush=True,
    )
    return took


def real(count: int, rounds: int, down: float) -> None:
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        cluster = cluster_for(folder, count)
        members = trio.run(enroll, str(cluster.config), count)
        cluster.start_hub()
        stack.callback(cluster.stop)
        # The second start wants the ports of the first.
        cluster.settings["proxy"] = {
            **cluster.settings["proxy"],  # type: ignore[dict-item]
            "listen_addr": cluster.addresses["web"],
            "ssh_listen_addr": cluster.addresses["ssh"],
            "tunnel_listen_addr": cluster.addresses["tunnel"],
        }
        cluster.bootstrap()
        fleet = stack.enter_context(running_fleet(members, cluster.addresses["tunnel"]))
        fleet.wait_connected()
        taken = [restart(cluster, fleet, folder, down, count) for _ in range(rounds)]
        print(f"real: median of {rounds}: {median(taken):.1f} s (goal for 2,000: 60 s)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--simulated", type=int, default=2000)
    parser.add_argument("--real", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--down", type=float, default=3, help="seconds for which the hub stays away")
    options = parser.parse_args()
    print_facts("bench.reconnect_storm")
    logging.disable(logging.CRITICAL)
    collect_rarely()  # as mezhub does
    if options.simulated:
        trio.run(simulated, options.simulated, options.rounds, options.down)
    if options.real:
        real(options.real, options.rounds, options.down)


if __name__ == "__main__":
    main()
