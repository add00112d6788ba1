# SPDX-License-Identifier: Apache-2.0
"""A cluster that is broken on purpose, again and again, and must keep its promises.

Hubs, agents and users run on a network in memory and a clock that jumps; a seed decides every interleaving,
every byte's way and every fault, so a failure is replayed from (commit, seed). Each round breaks a few things,
heals everything, waits a minute, and demands that every agent can be reached again. All the time, transfers
are compared byte by byte, and nothing may hang.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from .deterministic import RunTrace, run_deterministic
from .fault_stream import FaultPlan
from .memory_network import MemoryNetwork
from .simulated_hosts import AgentLoop, SimulatedAgent, SimulatedHub, SimulatedUser, World
from .simulated_traffic import HUNG_AFTER, TransferPlan, choose_transfer

__all__ = ["ClusterPlan", "SimulationResult", "run_simulation"]

#: After the last fault is healed an agent may need: 15 s to notice a dead connection, and a wait that grew to
#: 60 s at most while its hub was away.
ROUTABLE_SECONDS = 60.0

#: After the last user stopped, everything under way must have ended.
QUIET_SECONDS = 120.0

LOSSLESS_LINE = FaultPlan(split=0.05, max_piece=1400, delay=0.05, max_delay=0.2)

Fault = Callable[[], Awaitable[None]]


@attrs.frozen(kw_only=True)
class ClusterPlan:
    """How large a cluster, and for how long."""

    hubs: int = 2
    agents: int = 3
    users: int = 2
    hours: float = 1.0
    """simulated"""
    latency: float = 0.02
    """seconds one way"""
    thinking: float = 20.0
    """seconds between a user's transfers, on average"""
    line_faults: FaultPlan = LOSSLESS_LINE
    """what lines always do; nothing here may lose anything"""


@attrs.frozen(kw_only=True)
class SimulationResult:
    """What came out."""

    seconds: float
    counts: Mapping[str, int]
    violations: tuple[str, ...]
    """broken promises; empty when all is well"""


def run_simulation(
    plan: ClusterPlan, *, seed: int, agent_loop: AgentLoop
) -> tuple[SimulationResult, RunTrace]:
    """Simulate ``plan`` under ``seed``. Not to be called inside Trio."""
    return run_deterministic(_simulate, plan, seed, agent_loop, seed=seed)


async def _simulate(plan: ClusterPlan, seed: int, agent_loop: AgentLoop) -> SimulationResult:
    started = trio.current_time()
    cluster = _Cluster(plan, seed, agent_loop)
    async with trio.open_nursery() as nursery:
        for host in (*cluster.hubs, *cluster.agents):
            nursery.start_soon(host.run)
        async with trio.open_nursery() as users:
            for user in cluster.users:
                users.start_soon(cluster.keep_busy, user)
            await cluster.break_and_heal(started + plan.hours * 3600)
            cluster.stopping.set()
            with trio.move_on_after(QUIET_SECONDS):
                await cluster.wait_quiet()
            cluster.expect_nothing_older(0.0)
            users.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    if cluster.world.network.open_links:
        cluster.world.journal.violation(f"{cluster.world.network.open_links} connections were left open")
    journal = cluster.world.journal
    return SimulationResult(
        seconds=trio.current_time() - started,
        counts=dict(sorted(journal.counts.items())),
        violations=tuple(journal.violations),
    )


class _Cluster:
    def __init__(self, plan: ClusterPlan, seed: int, agent_loop: AgentLoop) -> None:
        self.plan = plan
        self.world = World(
            seed=seed,
            network=MemoryNetwork(latency=plan.latency),
            line_faults=plan.line_faults,
            hub_names=tuple(f"hub{number}" for number in range(plan.hubs)),
        )
        self.hubs = [SimulatedHub(self.world, name) for name in self.world.hub_names]
        self.agents = [
            SimulatedAgent(self.world, f"agent{number}", agent_loop) for number in range(plan.agents)
        ]
        self.users = [SimulatedUser(self.world, f"user{number}") for number in range(plan.users)]
        #: every host that dials a hub
        self.others = [agent.name for agent in self.agents] + [user.name for user in self.users]
        self.stopping = trio.Event()
        self._transfers = 0

    # -- users

    async def keep_busy(self, user: SimulatedUser) -> None:
        """One transfer after another until the simulation stops."""
        rng = self.world.rng("user")
        while not self.stopping.is_set():
            with trio.move_on_after(rng.expovariate(1 / self.plan.thinking)):
                await self.stopping.wait()
                return
            agent = rng.choice(self.agents)
            await user.transfer(agent.name, choose_transfer(rng, self._next_number()))

    def _next_number(self) -> int:
        self._transfers += 1
        return self._transfers

    async def wait_quiet(self) -> None:
        """Until nothing is under way."""
        while self.world.journal.older_than(-1.0):  # noqa: ASYNC110 - one loop instead of an event everywhere
            await trio.sleep(1)

    # -- rounds

    async def break_and_heal(self, until: float) -> None:
        """Rounds of faults, healing and checks until the simulated time ``until``."""
        rng = self.world.rng("nemesis")
        nemesis = _Nemesis(self, rng)
        while True:
            await self._wait_all_up()
            await trio.sleep(ROUTABLE_SECONDS)
            await self._expect_all_routable()
            self.expect_nothing_older(HUNG_AFTER)
            if trio.current_time() >= until:
                return
            for _ in range(rng.randint(1, 4)):
                await nemesis.strike()
                await trio.sleep(rng.expovariate(1 / 15))
            await trio.sleep(rng.uniform(0, 45))
            self.world.network.heal()

    async def _wait_all_up(self) -> None:
        while not all(host.is_up for host in (*self.hubs, *self.agents)):  # noqa: ASYNC110 - as above
            await trio.sleep(0.1)

    async def _expect_all_routable(self) -> None:
        async with trio.open_nursery() as nursery:
            for agent in self.agents:
                nursery.start_soon(self._expect_routable, agent)

    async def _expect_routable(self, agent: SimulatedAgent) -> None:
        plan = TransferPlan(number=self._next_number(), up=5000, down=5000, pause=0)
        arrived = False
        with trio.move_on_after(QUIET_SECONDS) as scope:
            arrived = await SimulatedUser(self.world, f"probe-{agent.name}").transfer(agent.name, plan)
        if scope.cancelled_caught:
            self.world.journal.violation(f"a transfer of 5000 bytes to {agent.name} hangs")
        elif not arrived:
            self.world.journal.violation(f"{agent.name} is not routable {ROUTABLE_SECONDS:g} s after healing")
        self.world.journal.counts["probes"] += 1

    def expect_nothing_older(self, seconds: float) -> None:
        """Whatever has been under way for longer hangs."""
        for name in self.world.journal.older_than(seconds):
            self.world.journal.violation(f"{name} hangs")


class _Nemesis:
    """Breaks things."""

    def __init__(self, cluster: _Cluster, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        self._faults: list[tuple[str, Fault]] = [
            ("hub killed", self._kill_hub),
            ("hub power loss", self._cut_hub_power),
            ("hub drained", self._drain_hub),
            ("agent killed", self._kill_agent),
            ("agent power loss", self._cut_agent_power),
            ("partition of a pair", self._partition_pair),
            ("partition of a hub", self._partition_hub),
            ("line half-open", self._half_open),
            ("line reset", self._reset_line),
            ("reconnect storm", self._storm),
        ]

    async def strike(self) -> None:
        """One fault, chosen by the seed."""
        name, fault = self._rng.choice(self._faults)
        self._cluster.world.journal.counts[f"fault: {name}"] += 1
        await fault()

    def _downtime(self) -> float:
        return self._rng.choice((0.1, 3.0, 20.0, 40.0)) * self._rng.random()

    async def _kill_hub(self) -> None:
        self._rng.choice(self._cluster.hubs).crash(self._downtime(), power_loss=False)

    async def _cut_hub_power(self) -> None:
        self._rng.choice(self._cluster.hubs).crash(self._downtime(), power_loss=True)

    async def _drain_hub(self) -> None:
        self._rng.choice(self._cluster.hubs).drain(self._downtime())

    async def _kill_agent(self) -> None:
        self._rng.choice(self._cluster.agents).crash(self._downtime(), power_loss=False)

    async def _cut_agent_power(self) -> None:
        self._rng.choice(self._cluster.agents).crash(self._downtime(), power_loss=True)

    async def _partition_pair(self) -> None:
        hub = self._rng.choice(self._cluster.hubs)
        self._cluster.world.network.cut(hub.name, self._rng.choice(self._cluster.others))

    async def _partition_hub(self) -> None:
        hub = self._rng.choice(self._cluster.hubs)
        for other in self._cluster.others:
            self._cluster.world.network.cut(hub.name, other)

    async def _half_open(self) -> None:
        line = self._rng.choice(self._cluster.agents).line
        if line is not None:
            line.go_half_open()

    async def _reset_line(self) -> None:
        line = self._rng.choice(self._cluster.agents).line
        if line is not None:
            await line.break_now()

    async def _storm(self) -> None:
        for hub in self._cluster.hubs:
            self._cluster.world.network.reset_links(hub.name)
