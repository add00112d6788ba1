# SPDX-License-Identifier: Apache-2.0
"""Agents report the sessions of connections that this hub gave them, and no others (threat G5)."""

import attrs
import pytest
import trio

from mezite.core.rbac.locks import LockTarget
from mezite.services.access.authorization import AccessContext, Resource
from mezite.services.access.live_access import LiveEntry, LiveKind
from mezite.services.errors import AccessDeniedError, ConflictError, InvalidRequestError, NotFoundError
from mezite.services.nodes.live_connections import FORWARDING, LiveConnection, SessionReport
from mezite.storage import node_sessions
from mezite.storage.node_sessions import NodeSessionOutcome
from tests.services.world import CLIENT, HUB_ID, START, open_world


async def connection_of(world, agent, connection_id="c-1"):
    """A connection of alice, who may log in as ubuntu."""
    try:
        identity = await world.user("alice")
    except ConflictError:
        identity = await world.session("alice")
    labels = {"env": "prod"}
    entry = LiveEntry(
        kind=LiveKind.SSH,
        identity=identity,
        verb="nodes.connect",
        resource=Resource(kind="node", name=agent.node_name, labels=labels),
        context=AccessContext(client_address=CLIENT, decision_id="d-1", agent_id=agent.agent_id),
        name=connection_id,
    )
    return LiveConnection(
        entry=entry,
        connection_id=connection_id,
        agent_id=agent.agent_id,
        node_name=agent.node_name,
        labels=labels,
        user_name="alice",
        user_roles=("access",),
        client_address=CLIENT,
        decision_id="d-1",
    )


REPORT = SessionReport(
    connection_id="c-1", session_id="s-1", login="ubuntu", kind="exec", command="id -un", pty=False
)


async def start(world, agent, **changes):
    await world.connections.session_started(agent, attrs.evolve(REPORT, **changes))


async def row_of(world, session_id="s-1"):
    return await world.database.read(node_sessions.get, session_id=session_id)


async def test_a_session_from_start_to_end(world):
    agent = await world.agent()
    with world.connections.track(await connection_of(world, agent)):
        await start(world, agent)
        row = await row_of(world)
        assert (row.user_name, row.login, row.node_name) == ("alice", "ubuntu", "web-1")
        assert (row.connection_id, row.hub_id, row.ended_at) == ("c-1", HUB_ID, None)
        world.clock.now += 2500
        outcome = NodeSessionOutcome(exit_status=7, bytes_from_user=10, bytes_to_user=20)
        await world.connections.session_ended(agent, "s-1", outcome)
    began, ended = [event for event in await world.events() if event["event_type"].startswith("session.")]
    assert (began["event_type"], began["user_name"], began["user_roles"]) == (
        "session.start",
        "alice",
        ["access"],
    )
    assert (began["login"], began["command"], began["kind"], began["pty"]) == (
        "ubuntu",
        "id -un",
        "exec",
        False,
    )
    assert (began["decision_id"], began["client_ip"]) == ("d-1", "192.0.2.7")
    assert (began["resource_name"], began["resource_labels"]) == ("web-1", {"env": "prod"})
    assert (ended["event_type"], ended["exit_status"], ended["duration_ms"]) == ("session.end", 7, 2500)
    assert (ended["bytes_from_user"], ended["bytes_to_user"]) == (10, 20)
    assert began["session_id"] == ended["session_id"] == "s-1"


async def test_a_session_that_was_killed_by_a_signal(world):
    agent = await world.agent()
    with world.connections.track(await connection_of(world, agent)):
        await start(world, agent)
        await world.connections.session_ended(agent, "s-1", NodeSessionOutcome(), exit_signal="KILL")
    event = (await world.events("session.end"))[0]
    assert (event["exit_status"], event["exit_signal"]) == (None, "KILL")


async def test_no_report_about_what_this_hub_did_not_give(world):
    """Threat G5: an unknown connection, another agent's, one that is over; nothing is written."""
    agent, other = await world.agent("web-1"), await world.agent("web-2")
    connection = await connection_of(world, agent)
    before = len(await world.events())
    with pytest.raises(NotFoundError):
        await start(world, agent)
    with world.connections.track(connection):
        with pytest.raises(NotFoundError, match="not one of this agent's"):
            await start(world, other)
        for kind in FORWARDING:
            with pytest.raises(NotFoundError):
                await start(world, other, kind=kind)
        with pytest.raises(NotFoundError):
            await world.connections.refused(other, "c-1", login="x", reason="y")
    with pytest.raises(NotFoundError):
        await start(world, agent)
    assert len(await world.events()) == before
    assert await world.database.read(node_sessions.list_recent) == []


async def test_no_agent_ends_another_ones_session(world):
    """Threat G5."""
    agent, other = await world.agent("web-1"), await world.agent("web-2")
    with world.connections.track(await connection_of(world, agent)):
        await start(world, agent)
        for who, session in ((other, "s-1"), (agent, "s-2"), (agent, "")):
            with pytest.raises(NotFoundError):
                await world.connections.session_ended(who, session, NodeSessionOutcome())
    assert (await row_of(world)).ended_at is None
    assert await world.events("session.end") == []


async def test_a_session_is_reported_once(world):
    """A second start is refused, a second end changes nothing."""
    agent, other = await world.agent("web-1"), await world.agent("web-2")
    with (
        world.connections.track(await connection_of(world, agent)),
        world.connections.track(await connection_of(world, other, "c-2")),
    ):
        await start(world, agent)
        with pytest.raises(InvalidRequestError, match="reported before"):
            await start(world, agent, kind="shell")
        with pytest.raises(InvalidRequestError, match="reported before"):
            await start(world, other, connection_id="c-2", kind="shell")
        await world.connections.session_ended(agent, "s-1", NodeSessionOutcome(exit_status=0))
        await world.connections.session_ended(agent, "s-1", NodeSessionOutcome(exit_status=9))
    assert (await row_of(world)).kind.value == "exec"
    assert [event["exit_status"] for event in await world.events("session.end")] == [0]
    assert len(await world.events("session.start")) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"session_id": ""},
        {"session_id": "x" * 65},
        {"session_id": "a\0"},
        {"kind": "coffee"},
        {"kind": ""},
        {"login": "x" * 65},
        {"login": "a\0"},
    ],
)
async def test_reports_that_make_no_sense(world, changes):
    agent = await world.agent()
    with world.connections.track(await connection_of(world, agent)), pytest.raises(InvalidRequestError):
        await start(world, agent, **changes)
    assert await world.events("session.start") == []


async def test_long_commands_are_cut(world):
    """What a hostile agent says must not fill the log."""
    agent = await world.agent()
    with world.connections.track(await connection_of(world, agent)):
        await start(world, agent, command="x" * 100_000)
        await start(world, agent, kind="direct-tcpip", command="y" * 100_000, session_id="s" * 999)
        await world.connections.refused(agent, "c-1", login="l" * 9999, reason="r" * 9999)
    for event in await world.events():
        assert len(str(event)) < 8192


@pytest.mark.parametrize("kind", sorted(FORWARDING))
async def test_forwarded_ports_are_audited_and_are_no_sessions(world, kind):
    agent = await world.agent()
    with world.connections.track(await connection_of(world, agent)):
        await start(world, agent, kind=kind, session_id="", command="db.internal:5432")
        await start(world, agent, kind=kind, session_id="", command="db.internal:5433")
    events = await world.events("port.forward")
    assert [event["target"] for event in events] == ["db.internal:5432", "db.internal:5433"]
    assert (events[0]["kind"], events[0]["decision_id"]) == (kind, "d-1")
    assert await world.database.read(node_sessions.list_recent) == []


async def test_a_login_that_the_agent_refused(world):
    agent = await world.agent()
    with world.connections.track(await connection_of(world, agent)):
        event_id = await world.connections.refused(agent, "c-1", login="root", reason="no such account")
    (event,) = await world.events("access.denied")
    assert event["id"] == event_id
    assert (event["login"], event["error_message"], event["user_name"]) == (
        "root",
        "no such account",
        "alice",
    )


async def test_what_is_left_when_the_connection_ends_is_ended(world):
    """Threat H4: an agent that crashed reports nothing more."""
    agent = await world.agent()
    connection = await connection_of(world, agent)
    with (
        world.connections.track(connection),
        world.connections.track(await connection_of(world, agent, "c-2")),
    ):
        await start(world, agent)
        await start(world, agent, session_id="s-2")
        await start(world, agent, session_id="other", connection_id="c-2")
        await world.connections.session_ended(agent, "s-2", NodeSessionOutcome(exit_status=0))
        world.clock.now += 1000
        with trio.CancelScope() as scope:
            scope.cancel()
            await world.connections.finish(connection)
    assert ((await row_of(world)).ended_at, (await row_of(world, "other")).ended_at) == (START + 1000, None)
    reasons = {event["session_id"]: event["reason"] for event in await world.events("session.end")}
    assert reasons == {"s-1": "the connection ended", "s-2": ""}
    await world.connections.session_ended(agent, "s-1", NodeSessionOutcome(exit_status=1))
    assert len(await world.events("session.end")) == 2


async def test_what_a_crash_of_the_hub_left_is_ended_at_its_start(database_path):
    """Threat H4; and other hubs' sessions are none of its business."""
    async with open_world(database_path) as world:
        agent = await world.agent()
        with world.connections.track(await connection_of(world, agent)):
            await start(world, agent)
    async with open_world(database_path, hub_id="hub-2", start=500) as other:
        assert await other.connections.end_leftovers() == 0
    async with open_world(database_path, start=900) as world:
        assert await world.connections.end_leftovers() == 1
        assert await world.connections.end_leftovers() == 0
        (event,) = await world.events("session.end")
        assert (event["reason"], event["session_id"]) == ("the hub was restarted", "s-1")


@pytest.mark.parametrize("kind", ["shell", "direct-tcpip"])
async def test_a_login_that_the_user_does_not_have(world, kind):
    """Threat A12: the agent has let it in; the hub knows better, and cuts the connection."""
    agent = await world.agent()
    connection = await connection_of(world, agent)
    with world.connections.track(connection):
        for login in ("root", "z" * 100_000):
            error = AccessDeniedError if kind != "shell" or login == "root" else InvalidRequestError
            with pytest.raises(error):
                await start(world, agent, login=login, kind=kind)
    assert connection.entry.reason
    assert await world.events("session.start") == []


@pytest.mark.parametrize(
    ("target", "name"), [(LockTarget.LOGIN, "ubuntu"), (LockTarget.SERIAL, "77"), (LockTarget.USER, "alice")]
)
async def test_a_lock_that_shows_only_when_the_agent_reports(world, target, name):
    """Threat E14: a stock client's login and certificate are known to the agent alone."""
    agent = await world.agent()
    connection = await connection_of(world, agent)
    root = await world.user("root", roles=("admin",))
    made = await world.locks.create(target, name, message="lost", by=root, client_address=CLIENT)
    with world.connections.track(connection), pytest.raises(AccessDeniedError, match=made.row.id):
        await start(world, agent, certificate_serial="77")
    assert (connection.entry.lock_id, made.row.id in connection.entry.reason) == (made.row.id, True)


async def test_the_end_of_a_session_that_was_cut_says_why(world):
    """Threat H4, whoever reports it first: the agent, or the hub when the connection is gone."""
    agent = await world.agent()
    connection = await connection_of(world, agent)
    with world.connections.track(connection):
        for session_id in ("s-1", "s-2"):
            await start(world, agent, session_id=session_id)
        connection.entry.cut("user alice is locked")
        await world.connections.session_ended(agent, "s-1", NodeSessionOutcome(), exit_signal="HUP")
        await world.connections.finish(connection)
    assert [event["reason"] for event in await world.events("session.end")] == ["user alice is locked"] * 2
