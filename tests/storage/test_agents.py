# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
import trio

from mezite.storage import agents
from mezite.storage.agents import NewAgent, RenewalRefusal, RenewedGeneration, TunnelLease
from mezite.storage.errors import AlreadyExistsError, NameTakenError, NotFoundError

NOW = 1_790_000_000_000
WEB_1 = NewAgent(
    agent_id="a-1", node_name="web-1", labels={"env": "prod"}, version="0.1", os_info="Debian 12"
)


def lease(epoch, until=NOW + 45_000, agent_id="a-1", address="192.0.2.7:50000"):
    return TunnelLease(agent_id=agent_id, epoch=epoch, lease_until=until, address=address)


@pytest.fixture
async def web_1(db):
    await db.write(agents.register, agent=WEB_1, now=NOW)
    return db


async def test_a_new_agent(db):
    row = await db.write(agents.register, agent=WEB_1, now=NOW)
    assert (
        row
        == await db.read(agents.get, agent_id="a-1")
        == await db.read(agents.get_by_name, node_name="web-1")
    )
    assert (row.labels, row.version, row.os_info) == ({"env": "prod"}, "0.1", "Debian 12")
    assert (row.generation, row.tunnel_epoch, row.created_at, row.removed_at) == (1, 0, NOW, None)
    assert not row.is_connected(NOW)


async def test_a_name_belongs_to_one_agent_b1(web_1):
    with pytest.raises(NameTakenError, match="node 'web-1' already exists") as caught:
        await web_1.write(agents.register, agent=NewAgent(agent_id="a-2", node_name="web-1"), now=NOW)
    assert caught.value.owner == "a-1"
    with pytest.raises(AlreadyExistsError, match="agent 'a-1'"):
        await web_1.write(agents.register, agent=NewAgent(agent_id="a-1", node_name="web-2"), now=NOW)
    with pytest.raises(AlreadyExistsError, match="agent 'a-1'"):
        await web_1.write(agents.register, agent=WEB_1, now=NOW)


async def test_fifty_that_claim_one_name_at_once_have_one_winner_b1(db):
    outcomes = []

    async def claim(number):
        agent = NewAgent(agent_id=f"a-{number}", node_name="web-1")
        try:
            outcomes.append((await db.write(agents.register, agent=agent, now=NOW)).agent_id)
        except NameTakenError as taken:
            outcomes.append(taken)

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(claim, number)
    winners = [outcome for outcome in outcomes if isinstance(outcome, str)]
    assert len(winners) == 1
    assert {outcome.owner for outcome in outcomes if isinstance(outcome, NameTakenError)} == set(winners)


async def test_a_removed_agent_gives_its_name_back_and_keeps_its_row(web_1):
    removed = await web_1.write(agents.remove, agent_id="a-1", now=NOW + 1)
    assert removed.removed_at == NOW + 1
    assert await web_1.write(agents.remove, agent_id="a-1", now=NOW + 2) is None
    assert await web_1.read(agents.get_by_name, node_name="web-1") is None
    assert (await web_1.read(agents.get, agent_id="a-1")).removed_at == NOW + 1
    await web_1.write(agents.register, agent=NewAgent(agent_id="a-2", node_name="web-1"), now=NOW + 3)
    assert [row.agent_id for row in await web_1.read(agents.list_all)] == ["a-2"]


async def test_a_list_goes_on_after_a_name(db):
    for number in (3, 1, 2):
        agent = NewAgent(agent_id=f"a-{9 - number}", node_name=f"n-{number}")
        await db.write(agents.register, agent=agent, now=NOW)
    first = await db.read(agents.list_all, limit=2)
    rest = await db.read(agents.list_all, after=first[-1].node_name)
    assert [row.node_name for row in first + rest] == ["n-1", "n-2", "n-3"]


async def test_several_by_name(web_1):
    await web_1.write(agents.register, agent=NewAgent(agent_id="a-2", node_name="app-1"), now=NOW)
    await web_1.write(agents.register, agent=NewAgent(agent_id="a-3", node_name="gone"), now=NOW)
    await web_1.write(agents.remove, agent_id="a-3", now=NOW)
    found = await web_1.read(agents.get_by_names, node_names=["web-1", "gone", "nosuch", "app-1", "web-1"])
    assert [row.node_name for row in found] == ["app-1", "web-1"]
    assert await web_1.read(agents.get_by_names, node_names=[]) == []


async def test_details_change_only_where_given(web_1):
    row = await web_1.write(agents.update_details, agent_id="a-1", labels={"env": "dev"})
    assert (row.labels, row.version) == ({"env": "dev"}, "0.1")
    row = await web_1.write(agents.update_details, agent_id="a-1", version="0.2", os_info="Debian 13")
    assert (row.labels, row.version, row.os_info) == ({"env": "dev"}, "0.2", "Debian 13")
    assert await web_1.write(agents.update_details, agent_id="a-1") == row
    await web_1.write(agents.remove, agent_id="a-1", now=NOW)
    assert await web_1.write(agents.update_details, agent_id="a-1") is None
    assert await web_1.write(agents.update_details, agent_id="a-1", version="1") is None
    assert await web_1.write(agents.update_details, agent_id="a-9") is None


def renew(db, generation, agent_id="a-1"):
    return db.write(agents.renew_generation, agent_id=agent_id, presented=generation, now=NOW + 9)


async def test_generations_count_up(web_1):
    assert await renew(web_1, 1) == RenewedGeneration(2)
    assert await renew(web_1, 2) == RenewedGeneration(3)
    assert (await web_1.read(agents.get, agent_id="a-1")).last_seen == NOW + 9


def confirm(db, generation, agent_id="a-1"):
    return db.write(agents.confirm_generation, agent_id=agent_id, presented=generation, now=NOW + 8)


@pytest.mark.parametrize("presented", [3, 0, -1])
async def test_another_generation_is_a_clone_and_locks(web_1, presented):
    await renew(web_1, 1)
    assert await renew(web_1, presented) is RenewalRefusal.CLONE_DETECTED
    row = await web_1.read(agents.get, agent_id="a-1")
    assert (row.generation, row.locked_at) == (2, NOW + 9)
    assert "copied" in row.lock_reason
    # Locked is locked, for the genuine one too.
    assert await renew(web_1, 2) is RenewalRefusal.LOCKED
    assert await web_1.write(agents.unlock, agent_id="a-1")
    assert not await web_1.write(agents.unlock, agent_id="a-1")
    assert await renew(web_1, 2) == RenewedGeneration(3)


async def test_a_renewal_whose_answer_was_lost_is_asked_for_again(web_1):
    assert await renew(web_1, 1) == RenewedGeneration(2)
    assert await confirm(web_1, 1) is None
    assert await renew(web_1, 1) == RenewedGeneration(3)
    assert await renew(web_1, 1) == RenewedGeneration(4), "an agent whose disk is full asks many times"
    assert await confirm(web_1, 4) is None
    assert await confirm(web_1, 1) is RenewalRefusal.CLONE_DETECTED


async def test_once_the_new_generation_was_seen_the_old_one_is_a_clone(web_1):
    """Threat B1: the copy that did not renew comes back."""
    assert await renew(web_1, 1) == RenewedGeneration(2)
    assert await confirm(web_1, 2) is None
    assert await confirm(web_1, 1) is RenewalRefusal.CLONE_DETECTED
    assert await confirm(web_1, 2) is RenewalRefusal.LOCKED


async def test_a_copy_that_takes_the_renewal_away_is_found_by_the_original(web_1):
    await renew(web_1, 1)
    assert await renew(web_1, 2) == RenewedGeneration(3)
    assert await renew(web_1, 1) is RenewalRefusal.CLONE_DETECTED


async def test_copies_that_renew_at_once_are_found_when_they_show_what_they_got(web_1):
    outcomes = []

    async def copy():
        outcomes.append(await renew(web_1, 1))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(copy)
    # Any number of lost answers looks the same; but each copy holds another generation now.
    assert sorted(renewed.generation for renewed in outcomes) == list(range(2, 12))
    assert await confirm(web_1, 2) is None
    assert await confirm(web_1, 3) is RenewalRefusal.CLONE_DETECTED
    assert await confirm(web_1, 2) is RenewalRefusal.LOCKED


async def test_copies_that_take_turns_are_found(web_1):
    """Threat B1: what one was issued before the other one came is of another line, and higher all the same."""
    original = (await renew(web_1, 1)).generation
    copy = (await renew(web_1, 1)).generation
    original = (await renew(web_1, original)).generation
    assert original > copy
    row = await web_1.read(agents.get, agent_id="a-1")
    assert [generation for generation in range(6) if row.is_genuine(generation)] == [2, original]
    assert await renew(web_1, copy) is RenewalRefusal.CLONE_DETECTED


async def test_an_agent_alone_may_lose_any_answer(web_1):
    held = 1
    for lost in (0, 3, 1, 0, 2):
        for _ in range(lost):
            await renew(web_1, held)
        held = (await renew(web_1, held)).generation
        assert (await web_1.read(agents.get, agent_id="a-1")).is_genuine(held)
    assert await confirm(web_1, held) is None


async def test_no_confirmation_for_unknown_and_removed_agents(web_1):
    assert await confirm(web_1, 1, agent_id="a-9") is RenewalRefusal.UNKNOWN
    await web_1.write(agents.remove, agent_id="a-1", now=NOW)
    assert await confirm(web_1, 1) is RenewalRefusal.REMOVED


async def test_no_renewal_for_unknown_and_removed_agents(web_1):
    assert await renew(web_1, 1, agent_id="a-9") is RenewalRefusal.UNKNOWN
    await web_1.write(agents.remove, agent_id="a-1", now=NOW)
    assert await renew(web_1, 1) is RenewalRefusal.REMOVED


async def test_a_locked_agent_gets_no_longer_lease(web_1):
    """Threat E14: the tunnel that is up is told to close with the next heartbeat."""
    epoch = await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-1", now=NOW)
    await web_1.write(agents.lock, agent_id="a-1", reason="lost laptop", now=NOW)
    fenced = await web_1.write(
        agents.heartbeat_many, tunnels=[("a-1", epoch)], lease_until=NOW + 9, now=NOW + 1
    )
    assert fenced == {("a-1", epoch)}


async def test_the_first_lock_reason_stays(web_1):
    assert await web_1.write(agents.lock, agent_id="a-1", reason="lost laptop", now=NOW)
    assert not await web_1.write(agents.lock, agent_id="a-1", reason="other", now=NOW + 1)
    row = await web_1.read(agents.get, agent_id="a-1")
    assert (row.lock_reason, row.locked_at) == ("lost laptop", NOW)


async def test_a_lease_makes_an_agent_connected_until_it_ends(web_1):
    epoch = await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-1", now=NOW)
    assert epoch == 1
    assert await web_1.read(agents.count_connected, now=NOW) == 0
    assert await web_1.write(agents.mark_connected, lease=lease(1), now=NOW + 1)
    row = await web_1.read(agents.get, agent_id="a-1")
    assert (row.hub_id, row.last_seen, row.last_address) == ("hub-1", NOW + 1, "192.0.2.7:50000")
    assert row.is_connected(NOW + 44_999)
    assert not row.is_connected(NOW + 45_000)
    assert await web_1.read(agents.count_connected, now=NOW + 44_999) == 1
    assert await web_1.read(agents.count_connected, now=NOW + 45_000) == 0
    assert await web_1.write(agents.heartbeat, lease=lease(1, NOW + 60_000), now=NOW + 15_000)
    row = await web_1.read(agents.get, agent_id="a-1")
    assert (row.lease_until, row.last_seen, row.last_address) == (
        NOW + 60_000,
        NOW + 15_000,
        "192.0.2.7:50000",
    )
    assert await web_1.write(agents.mark_disconnected, agent_id="a-1", epoch=1, now=NOW + 16_000)
    row = await web_1.read(agents.get, agent_id="a-1")
    assert (row.lease_until, row.last_seen) == (None, NOW + 16_000)


async def test_what_is_said_under_an_old_epoch_does_not_count_b1_b8(web_1):
    await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-1", now=NOW)
    await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-2", now=NOW)
    assert await web_1.write(agents.mark_connected, lease=lease(2), now=NOW)
    before = await web_1.read(agents.get, agent_id="a-1")
    for epoch in (1, 0, 3):
        assert not await web_1.write(agents.mark_connected, lease=lease(epoch), now=NOW + 1)
        assert not await web_1.write(agents.heartbeat, lease=lease(epoch), now=NOW + 1)
        assert not await web_1.write(agents.mark_disconnected, agent_id="a-1", epoch=epoch, now=NOW + 1)
    assert await web_1.read(agents.get, agent_id="a-1") == before
    assert (before.hub_id, before.tunnel_epoch) == ("hub-2", 2)


async def test_every_order_of_two_tunnels_ends_with_the_newer_one_b1(web_1):
    """The old hub's late words, in any order between the new hub's."""
    late = [
        lambda old: (agents.heartbeat, {"lease": lease(old)}),
        lambda old: (agents.mark_disconnected, {"agent_id": "a-1", "epoch": old}),
        lambda old: (agents.mark_connected, {"lease": lease(old)}),
    ]
    for order in itertools.permutations(late):
        old = await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-1", now=NOW)
        await web_1.write(agents.mark_connected, lease=lease(old), now=NOW)
        new = await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-2", now=NOW)
        assert new == old + 1
        fn, arguments = order[0](old)
        assert not await web_1.write(fn, **arguments, now=NOW)
        assert await web_1.write(agents.mark_connected, lease=lease(new), now=NOW)
        for word in order[1:]:
            fn, arguments = word(old)
            assert not await web_1.write(fn, **arguments, now=NOW)
        row = await web_1.read(agents.get, agent_id="a-1")
        assert (row.hub_id, row.is_connected(NOW)) == ("hub-2", True)


async def test_epochs_taken_at_once_are_all_different(web_1):
    epochs = []

    async def take(number):
        hub = f"hub-{number % 2}"
        epochs.append(await web_1.write(agents.next_epoch, agent_id="a-1", hub_id=hub, now=NOW))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(take, number)
    assert sorted(epochs) == list(range(1, 21))


async def test_a_removed_agents_tunnel_is_fenced_off(web_1):
    epoch = await web_1.write(agents.next_epoch, agent_id="a-1", hub_id="hub-1", now=NOW)
    await web_1.write(agents.mark_connected, lease=lease(epoch), now=NOW)
    removed = await web_1.write(agents.remove, agent_id="a-1", now=NOW)
    assert removed.lease_until is None
    assert not await web_1.write(agents.heartbeat, lease=lease(epoch), now=NOW)
    assert not await web_1.write(agents.lock, agent_id="a-1", reason="x", now=NOW)
    for agent_id in ("a-1", "a-9"):
        with pytest.raises(NotFoundError, match=agent_id):
            await web_1.write(agents.next_epoch, agent_id=agent_id, hub_id="hub-1", now=NOW)


async def test_heartbeats_together_name_the_fenced_ones(db):
    """More than one statement holds."""
    count = 603

    def register_all(conn):
        for number in range(count):
            agent = NewAgent(agent_id=f"a-{number:04}", node_name=f"n-{number:04}")
            agents.register(conn, agent=agent, now=NOW)
            agents.next_epoch(conn, agent_id=agent.agent_id, hub_id="hub-1", now=NOW)
        agents.next_epoch(conn, agent_id="a-0007", hub_id="hub-2", now=NOW)
        agents.remove(conn, agent_id="a-0555", now=NOW)

    await db.write(register_all)
    tunnels = [(f"a-{number:04}", 1) for number in range(count)] + [("a-9999", 1)]
    fenced = await db.write(agents.heartbeat_many, tunnels=tunnels, lease_until=NOW + 9, now=NOW)
    assert fenced == {("a-0007", 1), ("a-0555", 1), ("a-9999", 1)}
    assert await db.read(agents.count_connected, now=NOW) == count - 2
    assert await db.write(agents.heartbeat_many, tunnels=[], lease_until=NOW, now=NOW) == set()


async def test_a_hub_that_starts_again_holds_no_tunnel(db):
    for number, hub in enumerate(("hub-1", "hub-1", "hub-2")):
        agent_id = f"a-{number}"
        await db.write(agents.register, agent=NewAgent(agent_id=agent_id, node_name=agent_id), now=NOW)
        epoch = await db.write(agents.next_epoch, agent_id=agent_id, hub_id=hub, now=NOW)
        await db.write(agents.mark_connected, lease=lease(epoch, agent_id=agent_id), now=NOW)
    assert await db.write(agents.release_hub, hub_id="hub-1") == 2
    assert await db.write(agents.release_hub, hub_id="hub-1") == 0
    connected = {row.agent_id: row.is_connected(NOW) for row in await db.read(agents.list_all)}
    assert connected == {"a-0": False, "a-1": False, "a-2": True}
