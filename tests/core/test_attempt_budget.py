# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from mezite.core import attempt_budget
from mezite.core.attempt_budget import AttemptBudget


def test_a_burst_then_a_steady_rate() -> None:
    budget = AttemptBudget(burst=3, interval=2.0)
    assert [budget.take("a", 100.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]
    assert budget.take("a", 101.5) == 0.5
    assert budget.take("a", 102.0) == 0.0
    assert budget.take("a", 102.0) == 2.0
    assert [budget.take("a", 200.0) for _ in range(4)] == [0.0, 0.0, 0.0, 2.0]


def test_sources_are_counted_apart() -> None:
    budget = AttemptBudget(burst=1, interval=60.0)
    assert [budget.take(source, 0.0) for source in ("a", "b", "a")] == [0.0, 0.0, 60.0]


def test_an_honest_attempt_does_not_count() -> None:
    budget = AttemptBudget(burst=1, interval=60.0)
    for _ in range(5):
        assert budget.take("a", 0.0) == 0.0
        budget.give_back("a", 0.0)
    assert len(budget) == 0, "a source with a full budget is not kept"
    budget.give_back("unknown", 0.0)
    budget.take("b", 0.0)
    budget.take("b", 0.0)
    assert len(budget) == 1


def test_giving_one_of_several_back() -> None:
    budget = AttemptBudget(burst=2, interval=10.0)
    budget.take("a", 0.0)
    budget.take("a", 0.0)
    budget.give_back("a", 0.0)
    assert budget.take("a", 0.0) == 0.0
    assert budget.take("a", 0.0) == 10.0


def test_the_memory_is_bounded() -> None:
    budget = AttemptBudget(burst=1, interval=1e6)
    for number in range(attempt_budget.MAX_SOURCES + 50):
        assert budget.take(str(number), 0.0) == 0.0
    assert len(budget) == attempt_budget.MAX_SOURCES
    assert budget.take("0", 0.0) == 0.0, "the one that was quiet for longest starts anew"
    assert budget.take(str(attempt_budget.MAX_SOURCES), 0.0) > 0


@given(st.lists(st.floats(0, 20), min_size=1, max_size=60))
def test_never_more_than_burst_and_rate(pauses: list[float]) -> None:
    budget, now, taken = AttemptBudget(burst=4, interval=3.0), 0.0, 0
    for pause in pauses:
        now += pause
        wait = budget.take("a", now)
        assert wait <= 3.0 + 1e-6
        taken += wait == 0
    assert taken <= 4 + now / 3.0 + 1e-6
