# SPDX-License-Identifier: Apache-2.0
"""What is remembered of sessions at applications, and for how long (threats D18, D22, E14)."""

import pytest

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

    async def by_app_session(self, token, host):
        self.times += 1
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
