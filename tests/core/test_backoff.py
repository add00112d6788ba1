# SPDX-License-Identifier: Apache-2.0
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.backoff import Backoff

ALMOST_ONE = math.nextafter(1.0, 0.0)


def test_ceiling_doubles_from_half_a_second_to_a_minute_b6() -> None:
    backoff = Backoff()
    waits = [backoff.next_wait(ALMOST_ONE) for _ in range(10)]
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60, 60])


def test_jitter_is_full_b6() -> None:
    backoff = Backoff()
    for _ in range(7):
        backoff.next_wait(0.0)
    assert backoff.next_wait(0.0) == 0
    assert backoff.next_wait(0.25) == pytest.approx(15)


def test_only_a_link_that_outlived_its_wait_starts_afresh_b6() -> None:
    backoff = Backoff()
    for _ in range(4):
        backoff.next_wait(0.0)
    backoff.link_lasted(4.0)
    assert backoff.ceiling == 8
    backoff.link_lasted(4.1)
    assert backoff.ceiling == 0.5


def test_a_named_wait_is_kept_once_and_spread_out_b6() -> None:
    backoff = Backoff()
    backoff.peer_named_wait(30)
    assert backoff.next_wait(0.5) == 30.25
    assert backoff.next_wait(ALMOST_ONE) == pytest.approx(0.5)


def test_a_link_shorter_than_the_named_wait_does_not_reset() -> None:
    backoff = Backoff()
    backoff.next_wait(0)
    backoff.peer_named_wait(30)
    backoff.next_wait(0)
    backoff.link_lasted(29)
    assert backoff.ceiling == 1


def test_a_peer_cannot_send_us_away_for_a_day() -> None:
    backoff = Backoff()
    backoff.peer_named_wait(86_400)
    assert backoff.next_wait(0.0) == 60
    backoff.peer_named_wait(-1)
    assert backoff.next_wait(0.0) == 0


@pytest.mark.parametrize(("initial", "maximum"), [(0, 60), (-1, 60), (2, 1), (1, math.inf), (math.nan, 60)])
def test_bounds_are_checked(initial: float, maximum: float) -> None:
    with pytest.raises(ValueError, match="backoff"):
        Backoff(initial=initial, maximum=maximum)


@pytest.mark.parametrize("jitter", [-0.1, 1.0, math.nan])
def test_jitter_is_checked(jitter: float) -> None:
    with pytest.raises(ValueError, match="jitter"):
        Backoff().next_wait(jitter)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.floats(0, 1, exclude_max=True)),
        st.tuples(st.just("named"), st.floats(-10, 1e6)),
        st.tuples(st.just("lasted"), st.floats(0, 1e6)),
    )
)


@given(STEPS)
def test_no_wait_is_ever_longer_than_the_maximum_and_one_initial(steps: list[tuple[str, float]]) -> None:
    backoff = Backoff()
    for what, value in steps:
        if what == "wait":
            assert 0 <= backoff.next_wait(value) <= 60.5
        elif what == "named":
            backoff.peer_named_wait(value)
        else:
            backoff.link_lasted(value)
        assert 0.5 <= backoff.ceiling <= 60
