# SPDX-License-Identifier: Apache-2.0
"""Sessions at applications: how long they live, and what ends them (threats D18, E14)."""

import pytest
import trio

from mezite.core.rbac.locks import LockTarget
from mezite.services.access.live_access import LiveEntry, LiveKind
from mezite.services.apps.admission import VERB
from mezite.services.apps.catalog import app_resource
from mezite.services.apps.sessions import IDLE_MS, RENEW_SECONDS
from mezite.services.errors import LockedError, NotFoundError, UnauthenticatedError
from mezite.services.identity.identities import CredentialKind, user_of_app_session
from mezite.services.login.password_login import SESSION_MS
from mezite.storage import users, web_sessions
from mezite.storage.errors import StorageError
from tests.services.apps.world import GRAFANA, HOST, OTHER_HOST, Browser, open_app_world
from tests.services.world import CLIENT, PASSWORD, START


@pytest.fixture
async def apps(world):
    await world.user()
    return await open_app_world(world)


async def is_live(apps, started, host=HOST):
    try:
        await apps.world.authenticator.by_app_session(started.token.reveal(), host)
    except UnauthenticatedError:
        return False
    return True


async def test_it_is_good_at_its_host_alone_d18(apps):
    started = await Browser(apps).arrive(await apps.web_session())
    assert await is_live(apps, started)
    assert not await is_live(apps, started, OTHER_HOST)
    assert not await is_live(apps, started, "")
    for other in (started.row.id, started.row.token_hash, started.token.reveal()[:-1]):
        with pytest.raises(UnauthenticatedError):
            await apps.world.authenticator.by_app_session(other, HOST)


async def test_it_ends_a_quarter_of_an_hour_after_its_last_use(apps):
    started = await Browser(apps).arrive(await apps.web_session())
    assert IDLE_MS == 15 * 60_000
    apps.world.clock.now += IDLE_MS - 1
    assert await is_live(apps, started)
    apps.world.clock.now += 1
    assert not await is_live(apps, started)


async def test_use_keeps_it_up_to_the_end_of_the_login(apps):
    started = await Browser(apps).arrive(await apps.web_session())
    row = started.row
    for _ in range(SESSION_MS // (IDLE_MS - 60_000)):
        apps.world.clock.now += IDLE_MS - 60_000
        _, row = await apps.world.authenticator.by_app_session(started.token.reveal(), HOST)
        await apps.sessions.renew(row)
    assert row.ends_at == START + SESSION_MS
    apps.world.clock.now = row.ends_at - 1
    assert await is_live(apps, started)
    apps.world.clock.now += 1
    assert not await is_live(apps, started)


async def test_not_every_use_is_written_down(apps):
    started = await Browser(apps).arrive(await apps.web_session())
    apps.world.clock.now += IDLE_MS // 2
    await apps.sessions.renew(started.row)
    (row,) = await apps.sessions.listed("alice")
    assert row.expires_at == started.row.expires_at
    apps.world.clock.now += 1
    await apps.sessions.renew(started.row)
    (row,) = await apps.sessions.listed("alice")
    assert row.expires_at == apps.world.clock.now + IDLE_MS


async def test_what_runs_on_it_keeps_it(apps):
    """A WebSocket that is open for an hour, and nothing else."""
    started = await Browser(apps).arrive(await apps.web_session())
    with apps.sessions.held(started.row):
        with apps.sessions.held(started.row):
            await apps.sessions.renew_held()
        for _ in range(6):
            apps.world.clock.now += IDLE_MS * 2 // 3
            await apps.sessions.renew_held()
        assert await is_live(apps, started)
    await apps.sessions.renew_held()
    apps.world.clock.now += IDLE_MS
    await apps.sessions.renew_held()
    assert not await is_live(apps, started)


async def test_renewing_survives_a_database_that_is_away(apps, autojump_clock):
    started = await Browser(apps).arrive(await apps.web_session())
    calls = []

    class Away:
        async def write(self, *_arguments, **_values):
            calls.append(1)
            raise StorageError("away")

    there, apps.sessions.database = apps.sessions.database, Away()
    with apps.sessions.held(started.row), trio.move_on_after(2.5 * RENEW_SECONDS):
        apps.world.clock.now += IDLE_MS * 2 // 3
        await apps.sessions.run()
    assert len(calls) == 2
    apps.sessions.database = there


async def test_a_login_at_the_hub_takes_it_along_e14(apps):
    """Logging out, another password, a user who is disabled or deleted."""
    world = apps.world
    alice = await apps.web_session()
    started = await Browser(apps).arrive(alice)
    await world.login.logout(alice, client_address=CLIENT)
    assert not await is_live(apps, started)

    started = await Browser(apps).arrive(await apps.web_session())
    await world.login.set_password("alice", PASSWORD + "!")
    assert not await is_live(apps, started)

    started = await Browser(apps).arrive(await apps.web_session())
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=world.clock.now)
    assert not await is_live(apps, started)
    await world.database.write(users.set_disabled, name="alice", disabled=False, now=world.clock.now)
    assert await is_live(apps, started)
    await world.database.write(users.delete, name="alice")
    assert not await is_live(apps, started)


async def test_a_lock_e14(apps):
    root = await apps.world.user("root", roles=("admin",))
    started = await Browser(apps).arrive(await apps.web_session())
    await apps.world.locks.create(LockTarget.USER, "alice", message="lost", by=root, client_address=CLIENT)
    with pytest.raises(LockedError, match="lost"):
        await apps.world.authenticator.by_app_session(started.token.reveal(), HOST)


async def entry_of(apps, started):
    identity, _ = await apps.world.authenticator.by_app_session(started.token.reveal(), HOST)
    return LiveEntry(
        kind=LiveKind.APP,
        identity=identity,
        verb=VERB,
        resource=app_resource(GRAFANA),
        context=apps.world.authenticator.context(CLIENT),
    )


async def test_ending_it_cuts_what_runs_e14(apps):
    root = await apps.world.user("root", roles=("admin",))
    started = await Browser(apps).arrive(await apps.web_session())
    other = await Browser(apps, host=OTHER_HOST).arrive(await apps.web_session())
    entry = await entry_of(apps, started)
    with apps.world.live.hold(entry):
        await apps.sessions.end(started.row.id, by=root, client_address=CLIENT)
        await apps.world.watch.look()
        await trio.sleep_forever()
    assert entry.reason == "the session at this application was ended: open it again"
    assert [row.id for row in await apps.sessions.listed()] == [other.row.id]
    (event,) = await apps.world.events("app.logout")
    assert (event["user_name"], event["session_id"], event["by"]) == ("alice", started.row.id, "root")
    with pytest.raises(NotFoundError):
        await apps.sessions.end(started.row.id, by=root, client_address=CLIENT)


async def test_logging_out_at_the_hub_cuts_what_runs_e14(apps):
    alice = await apps.web_session()
    entry = await entry_of(apps, await Browser(apps).arrive(alice))
    with apps.world.live.hold(entry):
        await apps.world.watch.look()
        assert not entry.reason
        await apps.world.login.logout(alice, client_address=CLIENT)
        await apps.world.watch.look()
        await trio.sleep_forever()
    assert entry.reason == "the session has ended: log in again"


async def test_a_new_one_takes_the_place_of_the_one_before_d17(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    first = await browser.arrive(alice)
    elsewhere = await Browser(apps, host=OTHER_HOST).arrive(alice)
    code = (await browser.hand_over(alice)).code.reveal()
    second, _ = await browser.redeem(code, before=first.token.reveal())
    assert {row.id for row in await apps.sessions.listed()} == {second.row.id, elsewhere.row.id}
    code = (await browser.hand_over(alice)).code.reveal()
    await browser.redeem(code, before=elsewhere.token.reveal())
    assert await is_live(apps, elsewhere, OTHER_HOST)


async def test_an_identity_is_of_one_user_and_one_login(apps):
    world = apps.world
    await world.user("bob")
    alice, bob = await apps.web_session(), await apps.web_session("bob")
    row = (await Browser(apps).arrive(alice)).row
    identity, _ = await world.authenticator.by_app_session(
        (await Browser(apps).arrive(alice)).token.reveal(), HOST
    )
    assert identity.credential is CredentialKind.APP_SESSION
    assert identity.pinned_to == "192.0.2.7"
    rows = {}
    for name, known in (("alice", alice), ("bob", bob)):
        user = await world.database.read(users.get, name=name)
        origin = await world.database.read(web_sessions.get, token_hash=known.session_hash)
        rows[name] = (origin, user)
    for origin, user in ((rows["alice"][0], rows["bob"][1]), (rows["bob"][0], rows["alice"][1]), rows["bob"]):
        with pytest.raises(ValueError, match="another user or login"):
            user_of_app_session(row, origin, user, ())
