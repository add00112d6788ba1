# SPDX-License-Identifier: Apache-2.0
"""Where one is logged in: at the hub and at applications."""

import pytest

from mezite.services.errors import NotFoundError
from mezite.services.users.own_sessions import OwnSessions
from tests.services.apps.world import HOST, Browser, open_app_world
from tests.services.world import CLIENT


@pytest.fixture
async def apps(world):
    await world.user("alice")
    await world.user("bob")
    return await open_app_world(world)


@pytest.fixture
def own(world, apps):
    return OwnSessions(database=world.database, audit=world.audit, sources=world.sources, apps=apps.sessions)


async def in_browsers(own, identity):
    """Making a user leaves a session of a program."""
    return [each for each in await own.listed(identity) if each.kind != "api"]


async def test_sessions_at_applications_are_listed_and_end_alone(world, apps, own):
    alice = await apps.web_session()
    world.clock.now += 1000
    started = await Browser(apps).arrive(alice)
    at_app, at_hub = await in_browsers(own, alice)
    assert (at_app.id, at_app.kind, at_app.host, at_app.is_this) == (started.row.id, "app", HOST, False)
    assert (at_hub.kind, at_hub.host, at_hub.is_this) == ("web", "", True)
    await own.end(alice, at_app.id, client_address=CLIENT)
    assert await in_browsers(own, alice) == [at_hub]
    assert await apps.sessions.listed() == []
    with pytest.raises(NotFoundError):
        await own.end(alice, at_app.id, client_address=CLIENT)


async def test_nobody_ends_those_of_others_e14(apps, own):
    alice, bob = await apps.web_session(), await apps.web_session("bob")
    started = await Browser(apps).arrive(alice)
    assert [each.kind for each in await in_browsers(own, bob)] == ["web"]
    with pytest.raises(NotFoundError):
        await own.end(bob, started.row.id, client_address=CLIENT)
    assert len(await apps.sessions.listed()) == 1


async def test_with_the_browsers_own_session_they_go(apps, own):
    alice = await apps.web_session()
    await Browser(apps).arrive(alice)
    (at_hub,) = [each for each in await own.listed(alice) if each.is_this]
    await own.end(alice, at_hub.id, client_address=CLIENT)
    assert await in_browsers(own, alice) == []
