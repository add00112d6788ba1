# SPDX-License-Identifier: Apache-2.0
"""A few simulated minutes of a cluster that is broken on purpose; bench/simulation.py runs the long ones.

Replay a failure with ``run_simulation(PLAN, seed=SEED, agent_loop=TunnelClient)``.
"""

import random

import pytest
import trio
import trio.testing

from mezite.agent.tunnel_client import TunnelClient
from mezite.core.mux.header import ChannelHeader
from mezite.testing.memory_network import MemoryNetwork
from mezite.testing.simulated_cluster import ClusterPlan, run_simulation
from mezite.testing.simulated_traffic import Journal, Transfer, TransferPlan, choose_transfer

PLAN = ClusterPlan(hours=0.15)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_no_byte_is_lost_and_everyone_comes_back(seed: int) -> None:
    """B4, B5, B6, B7: exactly the bytes or an error; all agents routable a minute after healing; nothing hangs."""
    result, _trace = run_simulation(PLAN, seed=seed, agent_loop=TunnelClient)
    assert result.violations == ()
    assert result.seconds >= PLAN.hours * 3600
    assert result.counts["user transfers complete"] > 10
    assert result.counts["bytes checked"] > 10_000
    assert any(name.startswith("fault: ") for name in result.counts)


def test_the_same_seed_gives_the_same_trace() -> None:
    plan = ClusterPlan(hours=0.05)
    (first, first_trace), (again, again_trace) = (
        run_simulation(plan, seed=11, agent_loop=TunnelClient) for _ in range(2)
    )
    assert first_trace == again_trace
    assert first == again
    _, other_trace = run_simulation(plan, seed=12, agent_loop=TunnelClient)
    assert other_trace.digest != first_trace.digest


class NeverReconnects(TunnelClient):
    """An agent with the fault of threat B5."""

    async def _wait(self, what: str, why: str) -> None:
        await trio.sleep_forever()


def test_an_agent_that_stops_reconnecting_is_found() -> None:
    """The checker is worth nothing if it cannot fail."""
    result, _ = run_simulation(PLAN, seed=1, agent_loop=NeverReconnects)
    assert any("not routable" in violation for violation in result.violations)


async def run_against(plan: TransferPlan, served: bytes) -> Journal:
    """A user's end of ``plan`` against a peer that sends ``served`` and ends in peace."""
    async with (network := MemoryNetwork()).listen("hub:1") as listener:
        user, agent = await network.dial("hub:1"), await listener.accept()
    journal = Journal()
    await agent.send_all(served)
    await agent.send_eof()
    assert not await Transfer(plan, user, journal, random.Random(1), at_agent=False).run()
    return journal


@pytest.mark.parametrize("served", [b"", b"x" * 10, b"x" * 11])
async def test_wrong_missing_and_surplus_bytes_are_violations(served: bytes) -> None:
    journal = await run_against(TransferPlan(number=1, up=0, down=10, pause=0), served)
    assert len(journal.violations) == 1
    assert journal.counts["user transfers failed"] == 1


async def test_a_surplus_byte_after_the_right_ones() -> None:
    right = random.Random("1/down").randbytes(10)
    journal = await run_against(TransferPlan(number=1, up=0, down=10, pause=0), right + b"!")
    assert "wrong bytes at 0" in journal.violations[0] or "at 10" in journal.violations[0]


async def test_what_runs_too_long_is_found(autojump_clock: trio.testing.MockClock) -> None:
    journal = Journal()
    with journal.running("a task"):
        await trio.sleep(10)
        assert journal.older_than(5) == ["a task"]
        assert journal.older_than(20) == []
    assert journal.older_than(-1) == []


def test_a_plan_goes_through_a_header() -> None:
    for number in range(20):
        plan = choose_transfer(random.Random(number), number)
        assert TransferPlan.from_header(plan.header) == plan
    assert isinstance(plan.header, ChannelHeader)
