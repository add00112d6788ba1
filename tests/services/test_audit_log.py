# SPDX-License-Identifier: Apache-2.0
"""What is acknowledged is recorded, in one unbroken chain."""

import json
import sqlite3
from contextlib import closing

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.audit.event import (
    FIRST_PREV_HASH,
    AuditEvent,
    InvalidEventError,
    canonical_bytes,
    chain_hash,
)
from mezite.core.audit.event_types import EventType
from mezite.services import audit_log
from mezite.services.audit_log import AuditLog, AuditUnavailableError
from mezite.storage import audit_events
from mezite.storage.audit_events import AuditQuery
from tests.services.world import CLUSTER, HUB_ID, START, fake_sources, open_world


async def chain(database, hub_id=HUB_ID):
    """All events of a hub, after their hashes have been checked one by one."""
    rows = await database.read(lambda conn: list(audit_events.iterate(conn, hub_id=hub_id)))
    previous = FIRST_PREV_HASH
    for number, row in enumerate(rows, start=1):
        event = AuditEvent.from_json(row.json)
        assert (event.seq, event.prev_hash, row.prev_hash) == (number, previous, previous)
        previous = chain_hash(previous, canonical_bytes(event))
        assert row.hash == previous
    return [json.loads(row.json) for row in rows]


def other_log(world, *, start=7_000):
    """A second writer of the same chain, as `mezhub bootstrap` is one."""
    sources = fake_sources(world.clock, start=start)
    return AuditLog(database=world.database, cluster=CLUSTER, hub_id=HUB_ID, sources=sources)


async def test_an_event_is_there_when_its_id_is(world):
    event_id = await world.audit.emit(
        EventType.ACCESS_DENIED,
        user_name="alice",
        user_roles=("access",),
        resource_type="node",
        resource_labels={"env": "prod"},
        client_ip="192.0.2.7:50000",
        success=False,
        login="root",
        tries=3,
    )
    (event,) = await chain(world.database)
    assert event["id"] == event_id
    assert event["timestamp"] == "2027-01-15T08:00:00.000Z"
    assert (event["event_type"], event["event_code"]) == ("access.denied", "T4001W")
    assert (event["cluster_name"], event["hub_id"], event["seq"]) == (CLUSTER, HUB_ID, 1)
    assert (event["client_ip"], event["login"], event["tries"]) == ("192.0.2.7", "root", 3)
    assert (event["user_roles"], event["resource_labels"]) == (["access"], {"env": "prod"})
    row = await world.database.read(audit_events.get, event_id=event_id)
    assert (row.user_name, row.resource_type, row.session_id, row.success) == ("alice", "node", None, False)
    assert row.timestamp == START


async def test_events_that_wait_together_are_committed_together(database_path):
    """Group commit: many rows for one transaction, in the order in which they were emitted."""
    async with open_world(database_path) as world:
        ids = {}

        async def emit(number):
            ids[number] = await world.audit.emit(EventType.USER_LOGIN, user_name=f"u{number}")

        async with trio.open_nursery() as nursery:
            for number in range(audit_log.GROUP + 700):
                nursery.start_soon(emit, number)
        events = await chain(world.database)
        assert {event["id"] for event in events} == set(ids.values())
        assert len(events) == audit_log.GROUP + 700


async def test_the_chain_goes_on_after_a_restart(database_path):
    for start in (0, 500):
        async with open_world(database_path, start=start) as world:
            await world.audit.emit(EventType.HUB_STARTED)
            await world.audit.emit(EventType.HUB_STOPPED)
    async with open_world(database_path, start=900) as world:
        assert [event["seq"] for event in await chain(world.database)] == [1, 2, 3, 4]


async def test_two_writers_of_one_chain_take_turns(world, nursery):
    """A command on the hub's machine adds to the chain while the hub runs."""
    other = other_log(world)
    await nursery.start(other.run)

    async def emit(log, name):
        for _ in range(20):
            await log.emit(EventType.USER_CREATED, user_name=name)

    async with trio.open_nursery() as writers:
        writers.start_soon(emit, world.audit, "hub")
        writers.start_soon(emit, other, "command")
    names = [event["user_name"] for event in await chain(world.database)]
    assert (names.count("hub"), names.count("command")) == (20, 20)


async def test_a_chain_that_is_always_taken_is_given_up(world):
    """Every attempt finds the number taken: a trigger refuses all rows, as a faster writer would."""
    await break_database(
        world, "CREATE TRIGGER no BEFORE INSERT ON audit_events BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(AuditUnavailableError, match="cannot be written"):
        await world.audit.emit(EventType.USER_LOGIN)
    await break_database(world, "DROP TRIGGER no")
    await world.audit.emit(EventType.USER_LOGOUT)
    assert [event["event_type"] for event in await chain(world.database)] == ["user.logout"]


async def break_database(world, statement):
    """Change the schema behind the hub's back."""

    def change():
        with closing(sqlite3.connect(world.path)) as connection:
            connection.execute(statement)
            connection.commit()

    await trio.to_thread.run_sync(change)


async def test_what_the_database_refuses_is_not_acknowledged(world):
    """Threat H7: no acknowledged action without a record; and the log recovers by itself."""
    await world.audit.emit(EventType.USER_LOGIN, user_name="before")
    await break_database(world, "ALTER TABLE audit_events RENAME TO hidden")
    refused = []

    async def emit(number):
        with pytest.raises(AuditUnavailableError, match="no such table"):
            await world.audit.emit(EventType.USER_LOGIN, user_name=f"u{number}")
        refused.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(emit, number)
    assert len(refused) == 20
    await break_database(world, "ALTER TABLE hidden RENAME TO audit_events")
    await world.audit.emit(EventType.USER_LOGIN, user_name="after")
    assert [event["user_name"] for event in await chain(world.database)] == ["before", "after"]


async def test_a_closed_database_refuses(world):
    await world.database.aclose()
    with pytest.raises(AuditUnavailableError, match="closed"):
        await world.audit.emit(EventType.USER_LOGIN)


async def test_cancelled_while_waiting(world):
    """The event is recorded or not; the log goes on either way."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await world.audit.emit(EventType.USER_LOGIN, user_name="cancelled")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.audit.emit, EventType.USER_LOGIN)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    await world.audit.emit(EventType.USER_LOGIN, user_name="after")
    names = [event["user_name"] for event in await chain(world.database)]
    assert names[-1] == "after"
    assert len(names) in (1, 2, 3)


async def test_a_group_that_was_committed_is_acknowledged_even_if_the_log_is_cancelled(world):
    log = other_log(world)
    acknowledged = []

    async def emit(number):
        acknowledged.append(await log.emit(EventType.USER_LOGIN, user_name=f"u{number}"))

    async with trio.open_nursery() as emitters, trio.open_nursery() as nursery:
        await nursery.start(log.run)
        for number in range(5):
            emitters.start_soon(emit, number)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert {event["id"] for event in await chain(world.database)} == set(acknowledged)
    assert len(acknowledged) == 5


async def test_nobody_waits_for_a_log_that_has_ended(world):
    """Those in the queue, those in front of it and those who come later are all told."""
    log = other_log(world)
    errors = []

    async def emit():
        with pytest.raises(AuditUnavailableError, match="closed"):
            await log.emit(EventType.USER_LOGIN)
        errors.append(1)

    async with trio.open_nursery() as emitters:
        for _ in range(600):
            emitters.start_soon(emit)
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            scope.cancel()
            await log.run()
    await emit()
    assert len(errors) == 601
    assert await chain(world.database) == []


async def test_a_field_that_cannot_be_written_fails_its_emitter_only(world):
    for fields in ({"ratio": 0.5}, {"Bad-Name": "x"}, {"seq": 9}, {"nested": {"a": 1}}):
        with pytest.raises(InvalidEventError):
            await world.audit.emit(EventType.USER_LOGIN, **fields)
    await world.audit.emit(EventType.USER_LOGIN)
    assert len(await chain(world.database)) == 1


@pytest.mark.parametrize("name", ["a\0b", "half \ud800 a character", "\x1b[31m", "ü" * 200])
async def test_names_that_no_database_keeps_are_written_so_that_they_can_be(world, name):
    """What a stranger calls itself must not stop the log."""
    await world.audit.emit(EventType.USER_LOGIN_FAILED, user_name=name, reason=name)
    (event,) = await chain(world.database)
    assert event["user_name"] == event["reason"]
    assert "\0" not in event["user_name"]


async def test_a_query_is_newest_first_over_all_hubs(database_path):
    async with open_world(database_path) as world:
        await world.audit.emit(EventType.USER_LOGIN, user_name="alice")
        world.clock.now += 1000
        await world.audit.emit(EventType.USER_LOGOUT, user_name="alice")
    async with open_world(database_path, hub_id="hub-2", start=500) as world:
        world.clock.now += 2000
        await world.audit.emit(EventType.USER_LOGIN, user_name="bob")
        events = [json.loads(line) for line in await world.audit.query(AuditQuery())]
        assert [(event["hub_id"], event["seq"]) for event in events] == [
            ("hub-2", 1),
            (HUB_ID, 2),
            (HUB_ID, 1),
        ]
        assert len(await world.audit.query(AuditQuery(event_types=("user.login",), user_name="bob"))) == 1
        assert len(await chain(world.database, "hub-2")) == 1


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("192.0.2.7:50000", "192.0.2.7"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::1", "::1"),
        ("192.0.2.7", "192.0.2.7"),
        ("unknown:0", "unknown"),
        ("", ""),
    ],
)
async def test_the_log_knows_addresses_not_ports(world, address, shown):
    await world.audit.emit(EventType.USER_LOGIN, client_ip=address)
    assert (await world.events())[0]["client_ip"] == shown


@given(st.text(max_size=40))
def test_any_address_is_cut_without_error(address):
    assert isinstance(audit_log._host(address), str)
