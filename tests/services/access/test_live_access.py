# SPDX-License-Identifier: Apache-2.0
"""What runs, and how it is ended (threat E14)."""

import pytest
import trio
import trio.testing

from mezite.core.rbac.locks import LockTarget
from mezite.services.access.authorization import Resource
from mezite.services.access.live_access import (
    GRACE_SECONDS,
    OVER_SECONDS,
    LiveEntry,
    LiveKind,
    slowest_ms,
    wait_over,
)
from mezite.storage.locks import LockRow
from tests.services.world import START


async def entry_of(world, kind=LiveKind.SSH, name="alice", **changes):
    identity = await world.user(name)
    fields = {"verb": "self.api", "resource": Resource(kind="account")} | changes
    context = world.authenticator.context("192.0.2.7:50000")
    return LiveEntry(kind=kind, identity=identity, context=context, **fields)


def lock(world, target, name, lock_id="l-1"):
    row = LockRow(id=lock_id, target=target, name=name, message="lost", created_by="root", created_at=START)
    world.lock_feed.replace([row])
    return row.lock()


async def test_a_block_that_is_cut_ends_and_knows_why(world):
    entry = await entry_of(world)
    with world.live.hold(entry) as held:
        assert world.live.entries() == [entry]
        made = lock(world, LockTarget.USER, "alice")
        assert not world.live.ask(entry)
        assert world.live.entries() == []
        await trio.sleep_forever()
    assert held.over.is_set()
    assert (held.reason, held.lock_id) == (made.reason, made.id)
    assert world.live.cut_by(made.id) == [entry]
    assert world.live.take_cuts() == {made.id: [entry]}
    assert world.live.take_cuts() == {}


async def test_the_first_reason_counts(world):
    entry = await entry_of(world)
    said = []
    entry.say_why = said.append
    with world.live.hold(entry):
        world.live.end(entry, "one")
        world.live.end(entry, "two")
        world.live.suspend("three")
    assert (entry.reason, said) == ("one", ["one"])


async def test_a_lock_that_came_between_the_decision_and_the_beginning(world):
    """No gap: what begins is asked about as it begins."""
    entry = await entry_of(world)
    lock(world, LockTarget.USER, "alice")
    with world.live.hold(entry):
        await trio.sleep_forever()
    assert "is locked" in entry.reason


async def test_who_may_go_on_goes_on(world):
    entry = await entry_of(world)
    with world.live.hold(entry):
        lock(world, LockTarget.USER, "bob")
        assert world.live.ask(entry)
        await trio.lowlevel.checkpoint()
    assert entry.reason == ""


async def test_a_peer_that_is_told_gets_a_moment(world, autojump_clock):
    entry = await entry_of(world)
    said = []
    entry.say_why = said.append
    begin = trio.current_time()
    with world.live.hold(entry):
        entry.cut("enough")
        assert said == ["enough"]
        await trio.sleep_forever()
    assert trio.current_time() - begin == pytest.approx(GRACE_SECONDS)


async def test_what_has_reached_its_end(world):
    entry = await entry_of(world, ends_at=START + 1000)
    with world.live.hold(entry):
        world.clock.now += 999
        world.live.end_expired()
        assert entry.reason == ""
        world.clock.now += 1
        world.live.end_expired()
        await trio.sleep_forever()
    assert "has reached its end" in entry.reason


async def test_suspended_nothing_of_a_person_runs_or_begins(world):
    ssh, agents = await entry_of(world), await entry_of(world, LiveKind.AGENT_TUNNEL, "bob")
    later = await entry_of(world, LiveKind.WEBSOCKET, "carol")
    with world.live.hold(agents):
        with world.live.hold(ssh):
            assert world.live.suspend("no locks") == 1
            await trio.sleep_forever()
        with world.live.hold(later):
            await trio.sleep_forever()
        assert (ssh.reason, later.reason, agents.reason) == ("no locks", "no locks", "")
        world.live.resume()
        with world.live.hold(await entry_of(world, name="dave")):
            await trio.lowlevel.checkpoint()


async def test_how_long_it_took(world, autojump_clock):
    quick, slow = await entry_of(world), await entry_of(world, name="bob")
    with world.live.hold(slow):
        with world.live.hold(quick):
            quick.cut_since = START
            quick.cut("enough")
            world.clock.now += 380
            await trio.sleep_forever()
        assert slowest_ms([quick]) == 380
        assert slowest_ms([]) == 0
        begin = trio.current_time()
        await wait_over([quick, slow])
        assert trio.current_time() - begin == pytest.approx(OVER_SECONDS)
        assert slowest_ms([quick, slow]) == OVER_SECONDS * 1000


async def test_an_older_lock_is_not_counted_as_slow(world):
    """Somebody who got a locked role an hour later was cut in no time."""
    entry = await entry_of(world)
    with world.live.hold(entry):
        world.clock.now += 3_600_000
        lock(world, LockTarget.USER, "alice")
        await world.live.ask_all([entry])
        await trio.sleep_forever()
    assert slowest_ms([entry]) == 0


async def test_many_are_asked_about_without_holding_up_others(world):
    entries = [await entry_of(world)] * 200
    turns = 0

    async def count():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        await world.live.ask_all(entries)
        nursery.cancel_scope.cancel()
    assert turns >= 2
