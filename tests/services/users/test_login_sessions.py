# SPDX-License-Identifier: Apache-2.0
"""Sessions of browsers and programs, ended by administrators: at once, wherever they are used (threat E14)."""

import pytest

from mezite.services.access.authorization import Resource
from mezite.services.access.live_access import LiveEntry, LiveKind
from mezite.services.errors import NotFoundError, UnauthenticatedError
from mezite.storage import app_sessions
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.web_sessions import WebSessionKind
from tests.services.world import CLIENT, HOUR, PASSWORD, START


@pytest.fixture
async def root(world):
    return await world.user("root", ("admin",))


async def revoke(world, root, id):
    return await world.login_sessions.revoke(id, by=root, client_address=CLIENT)


async def at_an_application(world, alice, id="app-1"):
    row = AppSessionRow(
        id=id,
        token_hash="a" * 64,
        host="grafana.apps.example.com",
        user_name="alice",
        web_session=alice.session_hash,
        factor="",
        client_ip=CLIENT,
        created_at=START + 1,
        expires_at=START + HOUR,
        idle_ms=HOUR,
        ends_at=START + HOUR,
    )
    await world.database.write(app_sessions.insert, session=row)


async def test_listed_and_ended(world, root):
    alice = await world.user("alice")
    started = await world.login.with_password(
        "alice", PASSWORD, client_address=CLIENT, kind=WebSessionKind.WEB
    )
    await at_an_application(world, alice)
    listed = await world.login_sessions.listed("alice")
    assert next(session.kind for session in listed) == "app"
    assert sorted(session.kind for session in listed) == ["api", "app", "web"]
    assert listed[0].host == "grafana.apps.example.com"
    assert len(await world.login_sessions.listed()) == 4
    (web,) = (session for session in listed if session.kind == "web")
    ended = await revoke(world, root, web.id)
    assert (ended.user_name, ended.kind) == ("alice", "web")
    with pytest.raises(UnauthenticatedError):
        await world.authenticator.by_session(started.token.reveal(), WebSessionKind.WEB)
    for id in (web.id, web.id[:-1], "%" * 32, "0" * 32, "", "x" * 100, "app-2"):
        with pytest.raises(NotFoundError):
            await revoke(world, root, id)
    assert (await revoke(world, root, "app-1")).host == "grafana.apps.example.com"
    assert [session.kind for session in await world.login_sessions.listed("alice")] == ["api"]
    (event,) = await world.events("user.logout")
    assert (event["user_name"], event["by"], event["resource_name"]) == ("alice", "root", web.id)
    (event,) = await world.events("app.logout")
    assert (event["user_name"], event["by"]) == ("alice", "root")


async def test_with_a_login_go_its_sessions_at_applications(world, root):
    alice = await world.user("alice")
    await at_an_application(world, alice)
    await revoke(world, root, alice.session_hash[:32])
    assert await world.login_sessions.listed("alice") == []


async def test_what_runs_on_it_is_cut(world, root):
    alice = await world.user("alice")
    entry = LiveEntry(
        kind=LiveKind.WEBSOCKET,
        identity=alice,
        verb="self.echo",
        resource=Resource(kind="account"),
        context=world.authenticator.context(CLIENT),
    )
    with world.live.hold(entry):
        await world.watch.look()
        assert not entry.reason
        await revoke(world, root, alice.session_hash[:32])
        assert entry.reason == "the session has ended: log in again"
