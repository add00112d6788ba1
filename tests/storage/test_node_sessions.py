# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import access_changes, node_sessions
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.node_sessions import NewNodeSession, NodeSessionKind, NodeSessionOutcome

NOW = 1_790_000_000_000
DONE = NodeSessionOutcome(exit_status=7, bytes_from_user=10, bytes_to_user=5 * 2**32)


def session(number=0, **changes):
    new = NewNodeSession(
        session_id=f"s-{number}",
        connection_id="c-1",
        hub_id="hub-1",
        agent_id="a-1",
        node_name="web-1",
        user_name="alice",
        login="ubuntu",
        kind=NodeSessionKind.SHELL,
        client_ip="192.0.2.7",
    )
    return attrs.evolve(new, **changes)


async def test_a_session_starts_and_ends_once(db):
    started = await db.write(node_sessions.start, session=session(), now=NOW)
    assert (started.started_at, started.ended_at, started.exit_status, started.bytes_to_user) == (
        NOW,
        None,
        None,
        0,
    )
    assert await db.read(node_sessions.list_live) == [started]
    ended = await db.write(node_sessions.end, session_id="s-0", outcome=DONE, now=NOW + 5)
    assert ended == attrs.evolve(
        started, ended_at=NOW + 5, exit_status=7, bytes_from_user=10, bytes_to_user=5 * 2**32
    )
    again = NodeSessionOutcome(exit_status=0)
    assert await db.write(node_sessions.end, session_id="s-0", outcome=again, now=NOW + 6) is None
    assert await db.read(node_sessions.get, session_id="s-0") == ended
    assert await db.read(node_sessions.list_live) == []


async def test_an_id_starts_once(db):
    await db.write(node_sessions.start, session=session(), now=NOW)
    with pytest.raises(AlreadyExistsError, match="s-0"):
        await db.write(node_sessions.start, session=session(login="root"), now=NOW)


async def test_unknown_sessions(db):
    assert await db.write(node_sessions.end, session_id="s-9", outcome=DONE, now=NOW) is None
    assert await db.read(node_sessions.get, session_id="s-9") is None


async def test_the_end_of_a_connection_ends_its_live_sessions(db):
    for number in range(3):
        await db.write(node_sessions.start, session=session(number), now=NOW + number)
    await db.write(node_sessions.start, session=session(3, connection_id="c-2"), now=NOW)
    await db.write(node_sessions.end, session_id="s-1", outcome=DONE, now=NOW + 10)
    ended = await db.write(node_sessions.end_all_of_connection, connection_id="c-1", now=NOW + 20)
    assert {row.session_id for row in ended} == {"s-0", "s-2"}
    assert all(row.ended_at == NOW + 20 and row.exit_status is None for row in ended)
    assert await db.write(node_sessions.end_all_of_connection, connection_id="c-1", now=NOW + 21) == []
    assert [row.session_id for row in await db.read(node_sessions.list_live)] == ["s-3"]


async def test_a_hub_that_starts_again_ends_what_it_left_behind(db):
    await db.write(node_sessions.start, session=session(0), now=NOW)
    await db.write(node_sessions.start, session=session(1, hub_id="hub-2"), now=NOW)
    ended = await db.write(node_sessions.end_all_of_hub, hub_id="hub-1", now=NOW + 1)
    assert [row.session_id for row in ended] == ["s-0"]
    assert [row.session_id for row in await db.read(node_sessions.list_live)] == ["s-1"]


async def test_recent_sessions_are_newest_first(db):
    for number in range(3):
        await db.write(node_sessions.start, session=session(number), now=NOW + number)
    recent = await db.read(node_sessions.list_recent, limit=2)
    assert [row.session_id for row in recent] == ["s-2", "s-1"]


async def test_an_end_reported_twice_at_once_counts_once(db):
    """The command's exit and the connection's end race; one of them writes the audit event."""
    await db.write(node_sessions.start, session=session(), now=NOW)
    ends = []

    async def command():
        row = await db.write(node_sessions.end, session_id="s-0", outcome=DONE, now=NOW)
        ends.extend([row] if row else [])

    async def connection():
        ends.extend(await db.write(node_sessions.end_all_of_connection, connection_id="c-1", now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(command)
            nursery.start_soon(connection)
    assert len(ends) == 1


async def test_orders_to_end_a_session(db):
    for number in range(2):
        await db.write(node_sessions.start, session=session(number), now=NOW)
    before = (await db.read(access_changes.counts))[AccessChange.ORDERS]
    ordered = await db.write(node_sessions.order_end, session_id="s-0", by="root", reason="odd")
    assert (ordered.kill_by, ordered.kill_reason) == ("root", "odd")
    again = await db.write(node_sessions.order_end, session_id="s-0", by="bob", reason="")
    assert (again.kill_by, again.kill_reason) == ("root", "odd")
    assert await db.read(node_sessions.list_ordered, hub_id="hub-1") == [ordered]
    assert await db.read(node_sessions.list_ordered, hub_id="hub-2") == []
    assert (await db.read(access_changes.counts))[AccessChange.ORDERS] == before + 2
    await db.write(node_sessions.end, session_id="s-0", outcome=DONE, now=NOW)
    assert await db.read(node_sessions.list_ordered, hub_id="hub-1") == []
    for session_id in ("s-0", "s-9"):
        order = {"session_id": session_id, "by": "root", "reason": ""}
        assert await db.write(node_sessions.order_end, **order) is None
    assert (await db.read(access_changes.counts))[AccessChange.ORDERS] == before + 2
