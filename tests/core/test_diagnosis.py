# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from mezite.core.diagnosis import Finding, Outcome, StepFailedError, first_broken


def test_the_first_broken_step_is_named() -> None:
    walk = [
        Finding(step="DNS", outcome=Outcome.OK, milliseconds=1.0),
        Finding(step="TCP", outcome=Outcome.FAILED, milliseconds=2.0, detail="refused", remedy="start it"),
        Finding(step="TLS", outcome=Outcome.SKIPPED),
        Finding(step="clock", outcome=Outcome.FAILED, detail="ahead"),
    ]
    assert first_broken(walk) is walk[1]


def test_nothing_is_broken() -> None:
    assert first_broken([Finding(step="DNS", outcome=Outcome.OK)]) is None
    assert first_broken([]) is None


def test_a_failure_says_why_and_what_to_do() -> None:
    failure = StepFailedError("nobody is there", "knock again")
    assert (failure.why, failure.hint) == ("nobody is there", "knock again")
    assert str(failure) == "nobody is there; knock again"
