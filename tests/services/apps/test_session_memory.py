# SPDX-License-Identifier: Apache-2.0
"""What is remembered of sessions at applications, and for how long (threats D18, D22, E14)."""

import pytest
import trio
import trio.testing

from mezite.services.apps import session_memory as app_session_memory
from mezite.services.apps.session_memory import KEPT_SECONDS, AppSessionMemory
from mezite.services.apps.sessions import IDLE_MS
from mezite.services.errors import UnauthenticatedError
from tests.services.apps.world import HOST, OTHER_HOST, Browser, open_app_world
from tests.services.world import CLIENT


class Counted:
    """Counts what is really looked up."""

    def __init__(self, authenticator):
        self.authenticator = authenticator
        self.times = 0
        self.may_go_on = trio.Event()
        self.may_go_on.set()

    async def by_app_session(self, token, host):
        self.times += 1
        await self.may_go_on.wait()
        return await self.authenticator.by_app_session(token, host)


class Seconds:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
async def apps(world):
    await world.user()
    return await open_app_world(world)


@pytest.fixture
def memory(apps):
    return AppSessionMemory(
        authenticator=Counted(apps.world.authenticator),
        sessions=apps.sessions,
        sources=apps.world.sources,
        clock=Seconds(),
    )


async def test_many_requests_are_one_look(apps, memory):
    started = await Browser(apps).arrive(await apps.web_session())
    for _ in range(50):
        identity, row = await memory.find(started.token.reveal(), HOST)
        assert (identity.name, row) == ("alice", started.row)
    assert memory.authenticator.times == 1
    memory.clock.now += KEPT_SECONDS
    await memory.find(started.token.reveal(), HOST)
    assert memory.authenticator.times == 2


async def test_many_requests_at_once_are_one_look(apps, memory, nursery):
    started = await Browser(apps).arrive(await apps.web_session())
    found = []

    async def ask():
        found.append(await memory.find(started.token.reveal(), HOST))

    memory.authenticator.may_go_on = trio.Event()
    for _ in range(10):
        nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert (memory.authenticator.times, found) == (1, [])
    # What was begun to be looked for before that is too old for this one.
    memory.clock.now += KEPT_SECONDS
    nursery.start_soon(ask)
    await trio.testing.wait_all_tasks_blocked()
    assert memory.authenticator.times == 2
    memory.authenticator.may_go_on.set()
    await trio.testing.wait_all_tasks_blocked()
    with trio.fail_after(10):
        while len(found) < 11:
            await trio.lowlevel.checkpoint()
    assert memory.authenticator.times == 2


async def test_who_waited_for_a_look_that_was_given_up_looks(apps, memory, nursery):
    started = await Browser(apps).arrive(await apps.web_session())
    memory.authenticator.may_go_on = trio.Event()
    first = trio.CancelScope()

    async def give_up():
        with first:
            await memory.find(started.token.reveal(), HOST)

    async def ask():
        identity, _ = await memory.find(started.token.reveal(), HOST)
        assert identity.name == "alice"

    async with trio.open_nursery() as asking:
        nursery.start_soon(give_up)
        await trio.testing.wait_all_tasks_blocked()
        asking.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        first.cancel()
        memory.authenticator.may_go_on.set()
    assert memory.authenticator.times == 2


async def test_what_is_remembered_is_for_one_host_d18_d22(apps, memory):
    started = await Browser(apps).arrive(await apps.web_session())
    await memory.find(started.token.reveal(), HOST)
    for token, host in (
        (started.token.reveal(), OTHER_HOST),
        (started.token.reveal()[:-1], HOST),
        ("", HOST),
    ):
        with pytest.raises(UnauthenticatedError):
            await memory.find(token, host)


async def test_one_that_was_ended_here_is_over_at_once_e14(apps, memory):
    alice = await apps.web_session()
    started = await Browser(apps).arrive(alice)
    await memory.find(started.token.reveal(), HOST)
    await apps.sessions.end(started.row.id, by=alice, client_address=CLIENT)
    with pytest.raises(UnauthenticatedError):
        await memory.find(started.token.reveal(), HOST)


async def test_one_that_was_ended_elsewhere_is_over_half_a_second_later_e14(apps, memory):
    alice = await apps.web_session()
    started = await Browser(apps).arrive(alice)
    await memory.find(started.token.reveal(), HOST)
    await apps.world.login.logout(alice, client_address=CLIENT)
    assert KEPT_SECONDS == 0.5
    memory.clock.now += KEPT_SECONDS
    with pytest.raises(UnauthenticatedError):
        await memory.find(started.token.reveal(), HOST)


async def test_one_that_expires_meanwhile(apps, memory):
    started = await Browser(apps).arrive(await apps.web_session())
    await memory.find(started.token.reveal(), HOST)
    apps.world.clock.now += IDLE_MS
    with pytest.raises(UnauthenticatedError):
        await memory.find(started.token.reveal(), HOST)


async def test_it_does_not_grow_without_end(apps, memory, monkeypatch):
    monkeypatch.setattr(app_session_memory, "MAX_KEPT", 2)
    alice = await apps.web_session()
    for _ in range(3):
        started = await Browser(apps).arrive(alice)
        await memory.find(started.token.reveal(), HOST)
    assert len(memory._known) == 1
