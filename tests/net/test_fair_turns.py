# SPDX-License-Identifier: Apache-2.0
"""Threat A11 at the login: one client that guesses a lot keeps nobody else out."""

import pytest
import trio

from mezite.net.fair_turns import FairTurns, TooManyWaitingError


async def take(turns, source, order, gate):
    async with turns.turn(source):
        order.append(source)
        await gate.wait()


async def test_sources_take_turns(autojump_clock):
    turns, order = FairTurns(running=1), []

    async def work(source):
        async with turns.turn(source):
            order.append(source)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for source in ("guesser",) * 6 + ("alice", "bob"):
            nursery.start_soon(work, source)
            await trio.testing.wait_all_tasks_blocked()
    assert order == ["guesser", "guesser", "alice", "bob", *["guesser"] * 4]


async def test_what_waits_is_bounded():
    turns, gate, order = FairTurns(running=2, waiting=3, waiting_per_source=2), trio.Event(), []
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(take, turns, "guesser", order, gate)
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TooManyWaitingError):
            await take(turns, "guesser", order, gate)
        nursery.start_soon(take, turns, "alice", order, gate)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(TooManyWaitingError):
            await take(turns, "bob", order, gate)
        gate.set()
    assert sorted(order) == ["alice", *["guesser"] * 4]


async def test_a_cancelled_wait_leaves_nothing_behind():
    turns, gate, order = FairTurns(running=1, waiting=2), trio.Event(), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, turns, "a", order, gate)
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as given_up:
            for source in ("b", "b"):
                given_up.start_soon(take, turns, source, order, gate)
            await trio.testing.wait_all_tasks_blocked()
            given_up.cancel_scope.cancel()
        nursery.start_soon(take, turns, "c", order, gate)
        nursery.start_soon(take, turns, "d", order, gate)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    assert sorted(order) == ["a", "c", "d"]
    await take(turns, "e", order, gate)


async def test_a_failure_in_a_turn_gives_it_back():
    turns = FairTurns(running=1)
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"):
            async with turns.turn("a"):
                raise ValueError("broken")


async def test_a_turn_granted_to_someone_who_was_just_cancelled_goes_on():
    turns, gate, order = FairTurns(running=1), trio.Event(), []
    scope = trio.CancelScope()

    async def given_up():
        with scope:
            await take(turns, "b", order, gate)

    async with trio.open_nursery() as nursery:
        async with turns.turn("a"):
            nursery.start_soon(given_up)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(take, turns, "c", order, gate)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
        gate.set()
    assert order == ["c"]
