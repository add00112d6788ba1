# SPDX-License-Identifier: Apache-2.0
"""What the database believes about tunnels."""

import logging

import pytest
import trio
import trio.testing
from sqlalchemy import event

from mezite.services.errors import LockedError, UnauthenticatedError
from mezite.services.nodes.tunnel_leases import HEARTBEAT_SECONDS, LEASE_MS
from mezite.storage import agents
from tests.services.nodes.test_enrollment import renew
from tests.services.test_audit_log import break_database
from tests.services.tunnels import Closings
from tests.services.world import CLIENT, HUB_ID, MINUTE, START, open_world


async def row_of(world, agent):
    return await world.database.read(agents.get, agent_id=agent.agent_id)


async def test_a_tunnel_has_an_epoch_and_a_lease(world):
    agent = await world.agent()
    assert await world.leases.begin(agent, CLIENT) == 1
    row = await row_of(world, agent)
    assert (row.hub_id, row.last_address, row.lease_until) == (HUB_ID, CLIENT, START + LEASE_MS)
    assert await world.leases.begin(agent, CLIENT) == 2
    await world.leases.end(agent, 1)
    assert (await row_of(world, agent)).lease_until is not None, (
        "an old tunnel says nothing about a newer one (B8)"
    )
    await world.leases.end(agent, 2)
    assert (await row_of(world, agent)).lease_until is None


async def test_a_lease_is_three_heartbeats(world):
    """Threat B4: one slow write does not make an agent offline."""
    assert LEASE_MS == 3 * HEARTBEAT_SECONDS * 1000


async def test_a_removed_agent_begins_nothing(world):
    agent = await world.agent()
    await world.database.write(agents.remove, agent_id=agent.agent_id, now=START)
    with pytest.raises(UnauthenticatedError, match="removed: join again"):
        await world.leases.begin(agent, CLIENT)


async def test_the_end_is_written_while_being_cancelled(world):
    agent = await world.agent()
    epoch = await world.leases.begin(agent, CLIENT)
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.leases.end(agent, epoch)
    assert (await row_of(world, agent)).lease_until is None


async def test_heartbeats_extend_the_leases_of_all_tunnels(world):
    closings, one, two = Closings(), await world.agent("web-1"), await world.agent("web-2")
    first = closings.tunnel(one.agent_id, await world.leases.begin(one, CLIENT))
    second = closings.tunnel(two.agent_id, await world.leases.begin(two, CLIENT))
    with world.registry.claim(first), world.registry.claim(second):
        world.clock.now += MINUTE
        await world.leases.extend()
    for agent in (one, two):
        assert (await row_of(world, agent)).lease_until == START + MINUTE + LEASE_MS
    assert closings.closed == []


async def test_without_tunnels_nothing_is_written(world):
    await world.database.aclose()
    await world.leases.extend()


async def test_a_tunnel_that_another_hub_has_taken_over_is_closed(database_path):
    """Threat B8: two hubs, one agent; the older epoch is fenced off and the other tunnels stay."""
    async with (
        open_world(database_path) as world,
        open_world(database_path, hub_id="hub-2", start=500) as other,
    ):
        closings, agent, stays = Closings(), await world.agent("web-1"), await world.agent("web-2")
        old = closings.tunnel(agent.agent_id, await world.leases.begin(agent, CLIENT))
        kept = closings.tunnel(stays.agent_id, await world.leases.begin(stays, CLIENT))
        with world.registry.claim(old), world.registry.claim(kept):
            epoch = await other.leases.begin(agent, CLIENT)
            await world.leases.extend()
            assert closings.closed == [(agent.agent_id, old.epoch)]
        await world.leases.end(agent, old.epoch)
        row = await row_of(world, agent)
        assert (row.tunnel_epoch, row.hub_id) == (epoch, "hub-2")
        assert row.lease_until is not None


@pytest.mark.parametrize("how", ["removed", "locked"])
async def test_the_tunnel_of_a_removed_or_locked_agent_is_closed(world, how):
    """Threat E14: a lock reaches what runs."""
    closings, agent = Closings(), await world.agent()
    tunnel = closings.tunnel(agent.agent_id, await world.leases.begin(agent, CLIENT))
    with world.registry.claim(tunnel):
        if how == "removed":
            await world.database.write(agents.remove, agent_id=agent.agent_id, now=START)
        else:
            await world.database.write(agents.lock, agent_id=agent.agent_id, reason="lost", now=START)
        await world.leases.extend()
        assert closings.closed == [(agent.agent_id, tunnel.epoch)]


async def test_a_database_that_is_away_costs_heartbeats_not_the_hub(world, mock_clock, caplog):
    """Threat B4; and when it is back, leases go on."""
    agent = await world.agent()
    tunnel = Closings().tunnel(agent.agent_id, await world.leases.begin(agent, CLIENT))
    with world.registry.claim(tunnel):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(world.leases.run)
            await break_database(world, "ALTER TABLE agents RENAME TO hidden")
            with caplog.at_level(logging.WARNING, "mezite.tunnel"):
                await beat(world, mock_clock, lambda: bool(caplog.records))
            assert "cannot extend the leases" in caplog.text
            await break_database(world, "ALTER TABLE hidden RENAME TO agents")
            world.clock.now += MINUTE

            async def extended():
                return (await row_of(world, agent)).lease_until == START + MINUTE + LEASE_MS

            mock_clock.jump(HEARTBEAT_SECONDS)
            while not await extended():
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def beat(world, mock_clock, done):
    await trio.testing.wait_all_tasks_blocked()
    mock_clock.jump(HEARTBEAT_SECONDS)
    while not done():
        await trio.lowlevel.checkpoint()


async def test_a_genuine_generation_is_let_in(world):
    agent = await world.agent()
    assert await world.leases.check_generation(agent, CLIENT) is agent
    assert (await row_of(world, agent)).generation_seen == 1
    assert await world.events("lock.created") == []


async def test_a_generation_that_is_known_costs_no_commit_b6(world):
    agent = await world.agent()
    await world.leases.check_generation(agent, CLIENT)
    commits = []
    event.listen(world.database._backend.writer, "commit", commits.append)
    assert await world.leases.check_generation(agent, CLIENT) is agent
    assert commits == []
    await world.leases.begin(agent, CLIENT)
    assert len(commits) == 1


async def test_a_generation_that_was_left_behind_locks(world):
    """Threat B1: the copy that did not renew comes back."""
    old = await world.agent()
    new = await world.agent_of(await renew(world, old))
    await world.leases.check_generation(new, CLIENT)
    with pytest.raises(LockedError, match="in use in two places") as locked:
        await world.leases.check_generation(old, CLIENT)
    (event,) = await world.events("lock.created")
    assert event["id"] == locked.value.event_id
    assert (event["resource_name"], event["client_ip"]) == (old.agent_id, "192.0.2.7")
    with pytest.raises(LockedError, match="is locked"):
        await world.leases.check_generation(new, CLIENT)
    assert len(await world.events("lock.created")) == 1


async def test_a_removed_agent_is_told_so(world):
    agent = await world.agent()
    await world.database.write(agents.remove, agent_id=agent.agent_id, now=START)
    with pytest.raises(LockedError, match="is removed: join again"):
        await world.leases.check_generation(agent, CLIENT)
