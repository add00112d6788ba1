# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno

import pytest
import trio
from trio.testing import MockClock

from mezite.core.diagnosis import Outcome, StepFailedError
from mezite.net.diagnosis_walk import Walk, nothing_to_do
from mezite.net.dialer import DialError


async def fine() -> str:
    await trio.sleep(0.25)
    return "seen"


async def broken() -> str:
    await trio.lowlevel.checkpoint()
    raise StepFailedError("it is broken", "mend it")


async def absent() -> str:
    await trio.lowlevel.checkpoint()
    raise nothing_to_do("not set")


async def test_what_follows_a_broken_step_is_not_tried(autojump_clock: MockClock) -> None:
    walk = Walk()
    assert not await walk.chain(("one", fine), ("two", absent), ("three", broken), ("four", fine))
    assert await walk.chain(("five", fine))
    assert [(found.step, found.outcome) for found in walk.findings] == [
        ("one", Outcome.OK),
        ("two", Outcome.SKIPPED),
        ("three", Outcome.FAILED),
        ("four", Outcome.SKIPPED),
        ("five", Outcome.OK),
    ]
    one, two, three, four, _five = walk.findings
    assert (one.milliseconds, one.detail, one.remedy) == (250.0, "seen", "")
    assert (two.milliseconds, two.detail) == (None, "not set")
    assert (three.detail, three.remedy) == ("it is broken", "mend it")
    assert four.detail == "not tried: three failed"


@pytest.mark.parametrize(
    ("error", "detail", "remedy"),
    [
        (DialError("cannot connect", "refused", "start it"), "refused", "start it"),
        (DialError("cannot connect", "", "start it"), "cannot connect", "start it"),
        (OSError(errno.ENOENT, "No such file"), "No such file", "try again"),
        (trio.BrokenResourceError(), "the connection was cut", "try again"),
    ],
)
async def test_failures_of_lower_layers(error: Exception, detail: str, remedy: str) -> None:
    async def probe() -> str:
        await trio.lowlevel.checkpoint()
        raise error

    walk = Walk()
    assert not await walk.step("one", probe)
    assert (walk.findings[0].detail, walk.findings[0].remedy) == (detail, remedy)


async def test_a_step_that_takes_too_long(autojump_clock: MockClock) -> None:
    async def probe() -> str:
        await trio.sleep_forever()
        return ""

    walk = Walk(step_seconds=2)
    assert not await walk.step("one", probe)
    assert walk.findings[0].detail == "no answer within 2 s"
    assert walk.findings[0].milliseconds == 2000


async def test_a_bug_is_no_finding() -> None:
    async def probe() -> str:
        await trio.lowlevel.checkpoint()
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await Walk().step("one", probe)
