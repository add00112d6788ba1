# SPDX-License-Identifier: Apache-2.0
"""Changes to rights reach what runs, on whatever hub it runs (threats E6, E14)."""

from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mezite.core.mux.error_codes import ErrorCode
from mezite.core.rbac.locks import LockTarget
from mezite.net.mux_channel import ChannelResetError
from mezite.services.access.authorization import Resource
from mezite.services.access.live_access import LiveEntry, LiveKind
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from mezite.services.locks import locks as locks_service
from mezite.services.locks.access_watch import STALE_SECONDS
from mezite.services.nodes.live_connections import SessionReport
from mezite.storage import locks, trust, users
from mezite.storage.errors import DatabaseUnreachableError
from mezite.storage.locks import LockEffect
from tests.services.tunnels import connected
from tests.services.world import CLIENT, HOUR, open_world


@asynccontextmanager
async def connection(world, identity, agent, *, login="ubuntu"):
    """A connection to a node; the channels at both ends."""
    theirs = []

    async def serve(pending):
        theirs.append(await pending.accept())
        await trio.sleep_forever()

    async with (
        connected(world, agent, serve),
        world.access.connect(identity, agent.node_name, login=login, client_address=CLIENT) as ours,
    ):
        yield ours, theirs[0]


async def ended(stream) -> str:
    """With what words the channel was cut."""
    with trio.fail_after(30), pytest.raises(ChannelResetError) as reset:
        await stream.receive_some()
    assert reset.value.code is ErrorCode.REFUSED
    return reset.value.text


async def lock(world, target, name):
    root = await world.user("root", roles=("admin",))
    return await world.locks.create(target, name, message="lost", by=root, client_address=CLIENT)


@pytest.mark.parametrize("target", [LockTarget.USER, LockTarget.NODE, LockTarget.LOGIN, LockTarget.AGENT])
async def test_a_lock_cuts_what_runs_and_both_ends_hear_why(world, target):
    alice, agent = await world.user("alice"), await world.agent("web-1")
    names = {
        LockTarget.USER: "alice",
        LockTarget.NODE: "web-1",
        LockTarget.LOGIN: "ubuntu",
        LockTarget.AGENT: agent.agent_id,
    }
    words = []

    async def use(*, task_status):
        async with connection(world, alice, agent) as (ours, theirs):
            task_status.started()
            words.extend([await ended(ours), await ended(theirs)])

    async with trio.open_nursery() as nursery:
        await nursery.start(use)
        made = await lock(world, target, names[target])
    assert words == [made.row.lock().reason] * 2
    assert (made.effect.sessions, made.effect.connections) == (1, 0)
    (event,) = await world.events("lock.created")
    assert event["sessions_cut"] == 1


async def test_what_others_do_goes_on(world):
    alice, bob = await world.user("alice"), await world.user("bob")
    agent = await world.agent("web-1")
    async with connection(world, bob, agent) as (ours, theirs):
        made = await lock(world, LockTarget.USER, alice.name)
        assert (made.effect.sessions, made.effect.slowest_ms) == (0, 0)
        await ours.send_all(b"still here")
        assert await theirs.receive_some() == b"still here"


async def test_a_lock_made_on_another_hub_cuts_here(database_path):
    """Two hubs, one database: the other one's next look ends it, and both report what they have cut."""
    async with (
        open_world(database_path) as here,
        open_world(database_path, hub_id="hub-2", start=500) as there,
    ):
        alice, agent = await there.user("alice"), await there.agent("web-1")
        async with connection(there, alice, agent) as (ours, _theirs):
            await there.watch.look()
            made = await lock(here, LockTarget.USER, "alice")
            assert made.effect.sessions == 0
            there.clock.now += 700
            await there.watch.look()
            assert await ended(ours) == made.row.lock().reason
        await there.watch._report(there.watch._take_cuts())
        (known,) = await here.locks.list_locks()
        assert (known.effect.sessions, known.effect.slowest_ms) == (1, 700)


async def test_a_hub_that_does_not_answer_is_not_waited_for_for_ever(database_path, monkeypatch):
    monkeypatch.setattr(locks_service, "REPORT_SECONDS", 0.3)
    async with open_world(database_path) as here, trio.open_nursery() as nursery:
        await here.database.write(trust.note_hub, hub_id="hub-2", key_ids=(), now=here.clock.now)
        await here.watch.look()
        nursery.start_soon(here.watch.run)
        with trio.fail_after(30):
            made = await lock(here, LockTarget.ROLE, "access")
        assert made.effect == LockEffect()
        nursery.cancel_scope.cancel()


async def disable(world):
    now = world.clock.now
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=now)


async def remove(world):
    await world.database.write(users.delete, name="alice")


@pytest.mark.parametrize(
    ("target", "name"), [(LockTarget.USER, "alice"), (LockTarget.ROLE, "access"), (LockTarget.USER, "nobody")]
)
async def test_the_answer_has_what_other_hubs_have_cut(database_path, target, name):
    """Both hubs watch; the answer waits for the other one, which has the session, or says that it cut nothing."""
    async with (
        open_world(database_path) as here,
        open_world(database_path, hub_id="hub-2", start=500) as there,
    ):
        alice, agent = await there.user("alice"), await there.agent("web-1")
        await here.user("root", roles=("admin",))

        async def use(*, task_status):
            async with connection(there, alice, agent) as (ours, _theirs):
                report = SessionReport(
                    connection_id=there.live.entries()[0].name,
                    session_id="s-1",
                    login="ubuntu",
                    kind="shell",
                    command="",
                    pty=True,
                )
                await there.connections.session_started(agent, report)
                task_status.started()
                await ended(ours)

        async with trio.open_nursery() as nursery:
            await nursery.start(use)
            for hub in (here, there):
                hub_id = hub.watch.hub_id
                await hub.database.write(trust.note_hub, hub_id=hub_id, key_ids=(), now=hub.clock.now)
                await hub.watch.look()
                nursery.start_soon(hub.watch.run)
            made = await here.locks.create(
                target, name, message="lost", by=await here.session("root"), client_address=CLIENT
            )
            answered = await here.database.read(locks.answered, lock_id=made.row.id)
            nursery.cancel_scope.cancel()
        assert answered == {here.watch.hub_id, "hub-2"}
        assert made.effect.sessions == (name != "nobody")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda world: world.accounts.update("alice", roles=(), traits=None, by="root"), "no role"),
        (
            lambda world: world.accounts.update(
                "alice", roles=None, traits={"logins": ("deploy",)}, by="root"
            ),
            "ubuntu",
        ),
        (disable, "user alice is disabled"),
        (remove, "user alice was deleted"),
        (lambda world: world.login.set_password("alice", "another fine password"), "session has ended"),
    ],
    ids=["role taken away", "login taken away", "disabled", "deleted", "password reset"],
)
async def test_less_rights_cut_too(world, change, words):
    """Threat E6: asked with the user and the roles of now."""
    alice, agent = await world.user("alice"), await world.agent("web-1")
    async with connection(world, alice, agent) as (ours, _theirs):
        await world.watch.look()
        assert world.live.entries()[0].reason == ""
        await change(world)
        await world.watch.look()
        assert words in await ended(ours)


async def test_a_new_password_leaves_certificates_alone(world):
    """They end by themselves within a day; a lock on the user or the serial ends them now."""
    issued = await world.issue(await world.user("alice"))
    agent = await world.agent("web-1")
    async with connection(world, await world.by_certificate(issued), agent) as (ours, theirs):
        await world.login.set_password("alice", "another fine password")
        await world.watch.look()
        await ours.send_all(b"still here")
        assert await theirs.receive_some() == b"still here"


async def test_other_changes_cut_nobody(world):
    alice, agent = await world.user("alice"), await world.agent("web-1")
    async with connection(world, alice, agent) as (ours, theirs):
        await world.accounts.update("alice", roles=("access", "auditor"), traits=None, by="root")
        await world.user("bob")
        await world.watch.look()
        await ours.send_all(b"still here")
        assert await theirs.receive_some() == b"still here"


async def test_a_session_ends_with_its_certificate(world):
    issued = await world.issue(await world.user("alice"), ttl_seconds=3600)
    agent = await world.agent("web-1")
    async with connection(world, await world.by_certificate(issued), agent) as (ours, _theirs):
        world.clock.now += HOUR - 1000
        await world.watch.look()
        assert world.live.entries()[0].reason == ""
        world.clock.now += 1000
        await world.watch.look()
        assert "has reached its end" in await ended(ours)


async def test_rights_that_changed_before_the_connection_began(world):
    """Between reading the user and beginning: the next look compares what is fresh, though nothing new happened."""
    alice, agent = await world.user("alice"), await world.agent("web-1")
    await world.accounts.update("alice", roles=(), traits=None, by="root")
    await world.watch.look()
    async with connection(world, alice, agent) as (ours, _theirs):
        await world.watch.look()
        assert "no role" in await ended(ours)


async def test_an_order_to_end_one_session(database_path):
    """Given on one hub, followed on the one that has the session; others of the same user go on."""
    async with (
        open_world(database_path) as here,
        open_world(database_path, hub_id="hub-2", start=500) as there,
    ):
        alice, agent = await there.user("alice"), await there.agent("web-1")
        async with connection(there, alice, agent) as (ours, _theirs):
            entry = there.live.entries()[0]
            report = SessionReport(
                connection_id=entry.name, session_id="s-1", login="ubuntu", kind="shell", command="", pty=True
            )
            await there.connections.session_started(agent, report)
            root = await here.user("root", roles=("admin",))
            (listed,) = await here.node_sessions.list_live()
            assert (listed.session_id, listed.user_name, listed.hub_id) == ("s-1", "alice", "hub-2")
            await here.node_sessions.kill("s-1", reason="looks odd", by=root, client_address=CLIENT)
            await there.watch.look()
            assert await ended(ours) == "ended by root: looks odd"
        (event,) = await there.events("session.end")
        assert event["reason"] == "ended by root: looks odd"
        (event,) = await here.events("session.killed")
        assert (event["user_name"], event["session_user"]) == ("root", "alice")
        assert (await here.node_sessions.get("s-1")).kill_by == "root"
        for session_id, error in (("s-1", ConflictError), ("s-2", NotFoundError)):
            with pytest.raises(error):
                await here.node_sessions.kill(session_id, reason="", by=root, client_address=CLIENT)
        with pytest.raises(InvalidRequestError):
            await here.node_sessions.kill("s-1", reason="a\nb", by=root, client_address=CLIENT)


class AwayDatabase:
    """A database that does not answer, or with what this version does not understand."""

    def __init__(self, error=None):
        self.error = error or DatabaseUnreachableError("nobody there")

    async def read(self, *_args, **_options):
        raise self.error


@asynccontextmanager
async def held(world):
    """A session that runs until it is cut."""
    entry = LiveEntry(
        kind=LiveKind.WEBSOCKET,
        identity=await world.user("alice"),
        verb="self.echo",
        resource=Resource(kind="account"),
        context=world.authenticator.context(CLIENT),
    )

    async def run():
        with world.live.hold(entry):
            await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        yield entry
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("strict", "error"), [(True, None), (False, None), (True, ValueError("a lock on a planet"))]
)
async def test_when_locks_cannot_be_read(world, autojump_clock, strict, error, caplog):
    """Threat E14: after ten seconds strict mode ends sessions, and lets them begin again when the database is back."""
    database, world.watch.strict = world.watch.database, strict
    async with held(world) as entry, trio.open_nursery() as nursery:
        world.watch.database = AwayDatabase(error)
        begin = trio.current_time()
        nursery.start_soon(world.watch.run)
        await trio.sleep(STALE_SECONDS - 0.5)
        assert entry.reason == ""
        if strict:
            await entry.over.wait()
            assert trio.current_time() - begin == pytest.approx(STALE_SECONDS)
            assert "has not been able to read locks" in entry.reason
            assert world.live.suspended
        else:
            await trio.sleep(60)
            assert entry.reason == ""
            assert "best_effort" in caplog.text
        nursery.cancel_scope.cancel()
    world.watch.database = database
    await world.watch.look()
    assert world.live.suspended == ""


async def test_the_watch_goes_on_when_the_database_comes_back(world, autojump_clock):
    looked = trio.Event()

    class FlakyDatabase(AwayDatabase):
        tries = 0

        async def read(self, *args, **options):
            self.tries += 1
            if self.tries == 1:
                return await super().read()
            looked.set()
            return await trio.sleep_forever()

    world.watch.database = FlakyDatabase()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.watch.run)
        await looked.wait()
        nursery.cancel_scope.cancel()
