# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing
from sqlalchemy import event

from mezite.storage import agents, users
from mezite.storage.errors import NotFoundError
from mezite.storage.shared_writes import MOST, SharedWrites
from mezite.storage.users import NewUser


def new_user(name):
    return NewUser(name=name, password_hash=None, roles=("access",), traits={})


async def names(db):
    return sorted(user.name for user in await db.read(users.list_all))


def counting_commits(db):
    commits = []
    event.listen(db._backend.writer, "commit", commits.append)
    return commits


async def insert(writes, name, outcomes):
    outcomes[name] = await writes.write(users.insert, user=new_user(name), now=1)


async def refuse(writes, outcomes):
    try:
        await writes.write(agents.next_epoch, agent_id="nobody", hub_id="hub", now=1)
    except NotFoundError as error:
        outcomes["nobody"] = error


async def test_many_tasks_share_few_transactions_b6(db):
    writes, outcomes, commits = SharedWrites(db), {}, counting_commits(db)
    async with trio.open_nursery() as nursery:
        for number in range(3 * MOST):
            nursery.start_soon(insert, writes, f"user-{number:03}", outcomes)
    assert await names(db) == sorted(outcomes)
    assert all(outcomes[name].name == name for name in outcomes)
    # The first one goes alone or not, the rest in full transactions.
    assert len(commits) <= 5


async def test_a_refusal_of_one_is_nobody_elses(db):
    writes, outcomes, commits = SharedWrites(db), {}, counting_commits(db)
    refused = {}
    async with trio.open_nursery() as nursery:
        for name in ("a", "b", "c"):
            nursery.start_soon(insert, writes, name, outcomes)
        nursery.start_soon(refuse, writes, refused)
        for name in ("d", "e"):
            nursery.start_soon(insert, writes, name, outcomes)
    assert isinstance(refused["nobody"], NotFoundError)
    assert await names(db) == ["a", "b", "c", "d", "e"]
    assert len(commits) < 6


async def test_a_failure_of_the_transaction_is_everybodys(db):
    writes, failures = SharedWrites(db), []

    def fail(_conn):
        raise RuntimeError("a bug")

    async def doomed():
        try:
            await writes.write(fail)
        except RuntimeError as error:
            failures.append(error)

    await doomed()
    assert len(failures) == 1
    outcomes = {}
    await insert(writes, "later", outcomes)
    assert await names(db) == ["later"]
    await db.aclose()
    with pytest.raises(Exception, match="closed"):
        await insert(writes, "too-late", outcomes)


async def test_a_cancelled_write_is_taken_back_and_holds_up_nobody(db):
    writes, outcomes = SharedWrites(db), {}
    async with trio.open_nursery() as nursery:
        await writes._turn.acquire()
        scope = trio.CancelScope()

        @nursery.start_soon
        async def cancelled():
            with scope:
                await insert(writes, "cancelled", outcomes)

        nursery.start_soon(insert, writes, "other", outcomes)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        writes._turn.release()
    assert await names(db) == ["other"]
    assert list(outcomes) == ["other"]


def take_all_slots(db):
    """No transaction begins until what is returned is called."""
    slots = db._write_slots
    borrowers = [object() for _ in range(int(slots.total_tokens))]
    for borrower in borrowers:
        slots.acquire_on_behalf_of_nowait(borrower)

    def give_back():
        for borrower in borrowers:
            slots.release_on_behalf_of(borrower)

    return give_back


async def test_a_leader_cancelled_before_its_transaction_leaves_the_others_to_the_next(db):
    writes, outcomes, give_back = SharedWrites(db), {}, take_all_slots(db)
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        @nursery.start_soon
        async def leader():
            with scope:
                await insert(writes, "leader", outcomes)

        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(insert, writes, "next", outcomes)
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        give_back()
    assert await names(db) == ["next"]


async def test_who_is_cancelled_while_others_write_for_it_has_written(db):
    writes, outcomes, give_back = SharedWrites(db), {}, take_all_slots(db)
    await writes._turn.acquire()
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(insert, writes, "leader", outcomes)
        await trio.testing.wait_all_tasks_blocked()

        @nursery.start_soon
        async def follower():
            with scope:
                await insert(writes, "follower", outcomes)

        await trio.testing.wait_all_tasks_blocked()
        writes._turn.release()
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        give_back()
    assert await names(db) == ["follower", "leader"]
    assert list(outcomes) == ["leader"]
