# SPDX-License-Identifier: Apache-2.0
"""Every forwarded request gets into the chain: in groups, and none is dropped to keep up (threat H7)."""

import sqlite3
from contextlib import closing

import attrs
import pytest
import trio
import trio.testing

from mezite.core.apps.app import App
from mezite.core.audit.event_types import EventType
from mezite.services.apps import request_log as app_request_log
from mezite.services.apps.request_log import MAX_PATH, PACE_SECONDS, WAITING, AppRequest, AppRequestLog
from mezite.services.audit_log import GROUP, AuditLog
from tests.services.test_audit_log import chain
from tests.services.world import CLIENT

GRAFANA = App(
    name="grafana",
    uri="http://127.0.0.1:3000",
    public_addr="grafana.apps.example.com",
    labels={"env": "prod"},
    agent_hostnames=("web-1",),
)
PREFLIGHT = AppRequest(
    app=GRAFANA,
    identity=None,
    client_address=CLIENT,
    method="OPTIONS",
    target="/api",
    status=204,
    bytes_sent=0,
    bytes_received=0,
    duration_ms=3,
)


def numbered(number):
    return attrs.evolve(PREFLIGHT, duration_ms=number)


@pytest.fixture
def log(world):
    return AppRequestLog(audit=world.audit, sources=world.sources)


async def recorded(world):
    """The numbers of the requests in the chain, which is checked."""
    return [
        event["duration_ms"] for event in await chain(world.database) if event["event_type"] == "app.request"
    ]


async def change_schema(world, statement):
    def change():
        with closing(sqlite3.connect(world.path)) as connection:
            connection.execute(statement)
            connection.commit()

    await trio.to_thread.run_sync(change)


async def test_what_a_record_says(world, log, nursery):
    alice = await world.user()
    await nursery.start(log.run)
    world.clock.now += 5000
    await log.record(
        AppRequest(
            app=GRAFANA,
            identity=alice,
            client_address="192.0.2.7:50000",
            method="POST",
            target="/api/query?token=secret",
            status=200,
            bytes_sent=512,
            bytes_received=1 << 40,
            duration_ms=17,
            agent="web-1",
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            session_id="s-1",
            decision_id="d-1",
        )
    )
    happened = world.clock.now
    world.clock.now += 60_000
    await log.flush()
    (event,) = await world.events("app.request")
    assert {
        "event_code": "T6010I",
        "user_name": "alice",
        "user_roles": ["access"],
        "resource_type": "app",
        "resource_name": "grafana",
        "resource_labels": {"env": "prod"},
        "server_hostname": "web-1",
        "client_ip": "192.0.2.7",
        "session_id": "s-1",
        "decision_id": "d-1",
        "success": True,
        "error_message": "",
        "app": "grafana",
        "agent": "web-1",
        "method": "POST",
        "path": "/api/query",
        "status": 200,
        "bytes_sent": 512,
        "bytes_received": 1 << 40,
        "duration_ms": 17,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    }.items() <= event.items()
    assert event["timestamp"].endswith(":05.000Z"), "when it happened, not when it was written"
    assert happened < world.clock.now


async def test_a_request_that_failed_on_its_way_says_why(world, log, nursery):
    await nursery.start(log.run)
    await log.record(attrs.evolve(PREFLIGHT, status=502, error="no agent is connected"))
    await log.flush()
    (event,) = await world.events("app.request")
    assert (event["success"], event["error_message"]) == (False, "no agent is connected")
    assert (event["user_name"], event["user_roles"], event["status"]) == ("", [], 502)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/a?b", "/a"),
        ("/a#b?c", "/a"),
        ("*", "*"),
        ("/%2e%2e/ü", "/%2e%2e/ü"),
        ("/" + "x" * (MAX_PATH - 1), "/" + "x" * (MAX_PATH - 1)),
        ("/" + "x" * MAX_PATH, "/" + "x" * (MAX_PATH - 1) + "…"),
        ("/\0\ud800", "/\ufffd?"),
    ],
)
async def test_a_path_has_no_query_and_an_end(world, log, nursery, target, path):
    await nursery.start(log.run)
    await log.record(attrs.evolve(PREFLIGHT, target=target))
    await log.flush()
    assert (await world.events("app.request"))[0]["path"] == path


async def test_transactions_keep_their_pace_unless_one_is_full(world, log, nursery, mock_clock):
    async def wait_written():
        while log.waiting:
            await trio.lowlevel.checkpoint()

    await nursery.start(log.run)
    await log.record(numbered(0))
    await wait_written()
    await log.record(numbered(1))
    await trio.testing.wait_all_tasks_blocked()
    assert log.waiting == 1
    mock_clock.jump(PACE_SECONDS)
    await wait_written()
    for number in range(2, 2 * GROUP + 2):
        await log.record(numbered(number))
    await wait_written()
    assert await recorded(world) == list(range(2 * GROUP + 2))


async def test_records_are_committed_together_and_in_order_among_other_events(world, log, nursery):
    for number in range(GROUP + 10):
        await log.record(numbered(number))
    assert (log.waiting, await recorded(world)) == (GROUP + 10, [])
    await nursery.start(log.run)
    async with trio.open_nursery() as others:
        for _ in range(3):
            others.start_soon(world.audit.emit, EventType.USER_LOGIN)
        await log.flush()
    assert await recorded(world) == list(range(GROUP + 10))
    assert len(await chain(world.database)) == GROUP + 13
    assert log.waiting == 0


async def test_a_full_log_makes_requests_wait_and_loses_none(world, log, nursery):
    for number in range(WAITING):
        await log.record(numbered(number))
    done = []

    async def late(number):
        await log.record(numbered(number))
        done.append(number)

    async with trio.open_nursery() as requests:
        for number in range(WAITING, WAITING + 5):
            requests.start_soon(late, number)
        await trio.testing.wait_all_tasks_blocked()
        assert done == []
        await nursery.start(log.run)
    assert sorted(done) == list(range(WAITING, WAITING + 5))
    await log.flush()
    assert sorted(await recorded(world)) == list(range(WAITING + 5))


async def test_a_request_that_is_cut_is_recorded_all_the_same(world, log, nursery):
    """When there is room, and when it waits for some."""
    with trio.CancelScope() as scope:
        scope.cancel()
        await log.record(numbered(0))
    for number in range(1, WAITING):
        await log.record(numbered(number))
    with trio.move_on_after(0) as scope:
        await log.record(numbered(WAITING))
    assert scope.cancelled_caught
    await nursery.start(log.run)
    await log.flush()
    assert await recorded(world) == list(range(WAITING + 1))


async def test_while_the_database_refuses_records_are_kept(world, log, nursery, caplog, autojump_clock):
    await change_schema(world, "ALTER TABLE audit_events RENAME TO hidden")
    await nursery.start(log.run)
    await log.record(numbered(1))
    with trio.move_on_after(10 * app_request_log.RETRY_SECONDS):
        await log.flush()
    await log.record(numbered(2))
    assert log.waiting == 2

    def said() -> list[str]:
        return [record.message for record in caplog.records if "requests to applications" in record.message]

    # The clock does not wait for the database's thread, and a line of a log wakes nobody.
    while not said():  # noqa: ASYNC110
        await trio.sleep(app_request_log.RETRY_SECONDS)
    assert said() == ["requests to applications cannot be recorded; they are kept and tried again"]
    await change_schema(world, "ALTER TABLE hidden RENAME TO audit_events")
    await log.flush()
    assert await recorded(world) == [1, 2]


async def test_records_stay_when_the_audit_log_has_ended(world, nursery, autojump_clock):
    audit = AuditLog(database=world.database, cluster="c", hub_id="hub-9", sources=world.sources)
    with trio.CancelScope() as scope:
        scope.cancel()
        await audit.run()
    log = AppRequestLog(audit=audit, sources=world.sources)
    await nursery.start(log.run)
    await log.record(PREFLIGHT)
    with trio.move_on_after(5):
        await log.flush()
    assert log.waiting == 1
    assert await world.events("app.request") == []


async def test_a_flush_waits_for_what_was_there_and_for_nothing_more(world, log, nursery):
    await log.flush()
    await nursery.start(log.run)
    await log.record(numbered(1))
    await log.flush()
    assert await recorded(world) == [1]
