# SPDX-License-Identifier: Apache-2.0
"""Which agent is tried first, and who is left alone for how long."""

from __future__ import annotations

import pytest

from mezite.core.dial_order import (
    FIRST_SECONDS,
    LONGEST_SECONDS,
    MAX_FAILING,
    Candidate,
    Outliers,
    dial_order,
)

REDIS_A = ("redis", "a")


def test_nobody_is_nobody() -> None:
    assert dial_order([], now=0, turn=3) == []


def test_the_least_loaded_comes_first() -> None:
    offered = [Candidate("a", load=3), Candidate("b", load=1), Candidate("c", load=2)]
    assert dial_order(offered, now=0, turn=1) == ["b", "c", "a"]


def test_equals_take_turns() -> None:
    offered = [Candidate("a"), Candidate("b"), Candidate("c")]
    firsts = [dial_order(offered, now=0, turn=turn)[0] for turn in range(6)]
    assert firsts == ["a", "b", "c", "a", "b", "c"]


def test_the_avoided_come_last_and_who_is_free_soonest_before_the_others() -> None:
    offered = [Candidate("a", avoided_until=20), Candidate("b", avoided_until=15), Candidate("c", load=99)]
    assert dial_order(offered, now=10, turn=0) == ["c", "b", "a"]
    assert dial_order(offered, now=30, turn=0) == ["a", "b", "c"], "their time is up: load decides again"


def test_the_unhealthy_come_last_of_all_and_are_tried_all_the_same() -> None:
    offered = [
        Candidate("a", unhealthy=True),
        Candidate("b", avoided_until=15),
        Candidate("c", load=9),
        Candidate("d", unhealthy=True, load=1),
    ]
    assert dial_order(offered, now=10, turn=0) == ["c", "b", "a", "d"]


def test_a_failure_is_held_against_it_for_longer_each_time() -> None:
    outliers, now = Outliers(), 100.0
    assert outliers.avoided_until(REDIS_A) == 0
    waits = []
    for _ in range(10):
        outliers.failed(REDIS_A, began=now, now=now)
        waits.append(outliers.avoided_until(REDIS_A) - now)
        now = outliers.avoided_until(REDIS_A)
    assert waits[:4] == [FIRST_SECONDS, 4, 8, 16]
    assert waits[-1] == LONGEST_SECONDS
    assert outliers.avoided_until(("redis", "b")) == outliers.avoided_until(("wiki", "a")) == 0


def test_one_success_and_all_is_well() -> None:
    outliers = Outliers()
    for now in (1.0, 2.0, 3.0):
        outliers.failed(REDIS_A, began=now, now=now)
    outliers.worked(REDIS_A)
    outliers.worked(REDIS_A)
    assert (outliers.avoided_until(REDIS_A), len(outliers)) == (0, 0)
    outliers.failed(REDIS_A, began=9, now=10)
    assert outliers.avoided_until(REDIS_A) == 10 + FIRST_SECONDS


def test_fifty_dials_that_fail_together_are_one_failure() -> None:
    outliers = Outliers()
    for number in range(50):
        outliers.failed(REDIS_A, began=1.0, now=5.0 + number / 100)
    assert outliers.avoided_until(REDIS_A) == 5 + FIRST_SECONDS


def test_after_a_failure_one_caller_tries_and_the_others_go_elsewhere() -> None:
    outliers = Outliers()
    outliers.trying(REDIS_A, now=0, seconds=5)
    assert outliers.avoided_until(REDIS_A) == 0, "nothing was held against it"
    outliers.failed(REDIS_A, began=0, now=1)
    outliers.trying(REDIS_A, now=4, seconds=5)
    assert outliers.avoided_until(REDIS_A) == 9
    outliers.trying(REDIS_A, now=1, seconds=5)
    assert outliers.avoided_until(REDIS_A) == 9, "never shorter than it was"


@pytest.mark.parametrize("extra", [1, 50])
def test_what_is_remembered_is_bounded(extra: int) -> None:
    outliers = Outliers()
    for number in range(MAX_FAILING + extra):
        outliers.failed(("app", str(number)), began=0, now=1)
    assert len(outliers) == MAX_FAILING
    assert outliers.avoided_until(("app", "0")) == 0
    assert outliers.avoided_until(("app", str(MAX_FAILING))) == 1 + FIRST_SECONDS
