# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AuditService` over a connection."""

import json

import pytest
import trio

from mezite.api import audit as module
from mezite.api.pb.mezite.v1 import audit_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.core.audit.event_types import EventType
from tests.api.services import calling_as
from tests.services.world import START


async def listed(call, **wanted):
    answer = await call("AuditService/ListAuditEvents", pb.ListAuditEventsRequest(**wanted))
    return [json.loads(line) for line in answer.events_json]


async def test_events_newest_first_and_what_was_asked_for(world):
    async with calling_as(world, roles=("auditor",)) as call:
        for number, name in enumerate(("alice", "bob", "alice"), start=1):
            world.clock.now = START + number * 1000
            await world.audit.emit(EventType.USER_LOGIN_FAILED, user_name=name, attempt=number)
        everything = await listed(call)
        assert [event.get("attempt") for event in everything[:3]] == [3, 2, 1]
        assert len(await listed(call, user_name="alice")) == 2
        failed = await listed(
            call, event_type="user.login.failed", since_ms=START + 2000, until_ms=START + 3000
        )
        assert [event["attempt"] for event in failed] == [2]
        assert len(await listed(call, limit=1)) == 1
        assert await listed(call, event_type="session.start") == []


@pytest.mark.parametrize(
    ("name", "words"), [("session_start", "did you mean session.start?"), ("x" * 99, "x' is not a type")]
)
async def test_a_type_that_is_none(world, name, words):
    async with calling_as(world, roles=("auditor",)) as call:
        error = await call.refused("AuditService/ListAuditEvents", pb.ListAuditEventsRequest(event_type=name))
        assert error.status is StatusCode.INVALID_ARGUMENT
        assert words in str(error)


async def test_limits(world):
    async with calling_as(world, roles=("auditor",)) as call:
        for _ in range(module.DEFAULT_LIMIT + 5):
            await world.audit.emit(EventType.USER_LOGIN_FAILED)
        assert len(await listed(call)) == module.DEFAULT_LIMIT
        assert len(await listed(call, limit=2**31 - 1)) == len(await world.events())
        error = await call.refused("AuditService/ListAuditEvents", pb.ListAuditEventsRequest(limit=-1))
        assert error.status is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("times", [{"since_ms": 2**63 - 1}, {"until_ms": -(2**63)}])
async def test_times_at_the_end_of_the_world(world, times):
    async with calling_as(world, roles=("auditor",)) as call:
        assert await listed(call, **times) == []


async def test_long_events_do_not_keep_others_from_being_read(world):
    """Threat H7: whoever fills the log with the longest commands there are must not hide what happened."""
    async with trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(long_event, world)
    newest = await world.audit.emit(EventType.ACCESS_DENIED, user_name="mallory")
    async with calling_as(world, roles=("auditor",)) as call:
        events = await listed(call, limit=1000)
    assert newest in [event["id"] for event in events]
    assert 100 < len(events) < 300


async def long_event(world):
    await world.audit.emit(EventType.SESSION_START, user_name="mallory", command="\x01" * 4096)
