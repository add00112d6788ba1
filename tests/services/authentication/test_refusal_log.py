# SPDX-License-Identifier: Apache-2.0
"""Strangers cannot fill the audit log, and no refusal goes missing from its sums (threat H7)."""

import pytest
import trio
import trio.testing

from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.authentication.refusal_log import (
    IN_ALL,
    PER_SOURCE,
    SUMMARIES,
    WINDOW_SECONDS,
    RefusalLog,
)

FAILED = EventType.USER_LOGIN_FAILED


class ListedLog:
    """An audit log that keeps its events in a list, until it breaks."""

    def __init__(self):
        self.events = []
        self.broken = False

    async def emit(self, event_type, **fields):
        await trio.lowlevel.checkpoint()
        if self.broken:
            raise AuditUnavailableError("broken")
        self.events.append((event_type, fields))
        return f"event-{len(self.events)}"


def refusals_of(log):
    return sum(fields.get("repeated", 1) for _type, fields in log.events)


async def test_the_first_of_a_source_are_recorded_and_the_rest_counted():
    log = ListedLog()
    refusals = RefusalLog(log)
    ids = [await refusals.emit(FAILED, client_ip=f"192.0.2.1:{port}", method="local") for port in range(100)]
    assert ids[:PER_SOURCE] == [f"event-{number + 1}" for number in range(PER_SOURCE)]
    assert set(ids[PER_SOURCE:]) == {""}
    await refusals.summarise()
    event_type, fields = log.events[-1]
    assert (event_type, fields["client_ip"], fields["success"]) == (FAILED, "192.0.2.1:99", False)
    assert (fields["repeated"], refusals_of(log)) == (100 - PER_SOURCE, 100)
    assert fields["error_message"] == "80 more refusals of this address within 10m, not recorded one by one"


async def test_many_sources_share_what_there_is():
    log = ListedLog()
    refusals = RefusalLog(log)
    for number in range(3000):
        await refusals.emit(FAILED, client_ip=f"10.{number >> 8}.{number & 255}.1")
    assert len(log.events) == IN_ALL
    await refusals.summarise()
    assert len(log.events) == IN_ALL + SUMMARIES + 1
    assert refusals_of(log) == 3000
    assert [fields["client_ip"] for _type, fields in log.events].count("") == 1


async def test_kinds_are_summarised_apart():
    log = ListedLog()
    refusals = RefusalLog(log)
    refusals.count(FAILED, client_ip="192.0.2.1")
    refusals.count(EventType.ACCESS_DENIED, client_ip="192.0.2.1")
    await refusals.summarise()
    assert {event_type for event_type, _fields in log.events} == {FAILED, EventType.ACCESS_DENIED}


async def test_a_new_window_begins_anew_and_an_empty_one_says_nothing(autojump_clock: trio.testing.MockClock):
    log = ListedLog()
    refusals = RefusalLog(log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refusals.run)
        for _ in range(PER_SOURCE + 5):
            await refusals.emit(FAILED, client_ip="192.0.2.1")
        await trio.sleep(3 * WINDOW_SECONDS + 1)
        assert len(log.events) == PER_SOURCE + 1
        assert await refusals.emit(FAILED, client_ip="192.0.2.1") != ""
        nursery.cancel_scope.cancel()


async def test_what_could_not_be_written_stays_counted(autojump_clock: trio.testing.MockClock):
    log = ListedLog()
    refusals = RefusalLog(log)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refusals.run)
        for _ in range(PER_SOURCE + 5):
            await refusals.emit(FAILED, client_ip="192.0.2.1")
        log.broken = True
        await trio.sleep(WINDOW_SECONDS + 1)
        with pytest.raises(AuditUnavailableError):
            await refusals.emit(FAILED, client_ip="192.0.2.2")
        refusals.count(FAILED, client_ip="192.0.2.1")
        log.broken = False
        await trio.sleep(WINDOW_SECONDS)
        assert refusals_of(log) == PER_SOURCE + 6
        nursery.cancel_scope.cancel()
