# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.http2_limits import DEFAULT_FRAME_RATES, FrameKind, Rate, TokenBucket


def test_every_kind_has_a_rate_that_ends_a_flood_within_a_thousand_frames():
    """D12."""
    assert DEFAULT_FRAME_RATES.keys() == set(FrameKind)
    assert all(rate.burst < 1000 for rate in DEFAULT_FRAME_RATES.values())


def test_a_burst_then_a_rate():
    bucket = TokenBucket(Rate(3, 2))
    assert [bucket.take(10.0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(12.0)


def test_waiting_never_gives_more_than_the_burst():
    bucket = TokenBucket(Rate(3, 2))
    for _ in range(3):
        bucket.take(0.0)
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]


def test_tokens_can_be_earned():
    bucket = TokenBucket(Rate(2, 0))
    bucket.take(0.0)
    bucket.take(0.0)
    bucket.give(1)
    assert bucket.take(0.0)
    bucket.give(100)
    assert [bucket.take(0.0) for _ in range(3)] == [True, True, False]


@given(st.lists(st.floats(0, 3), max_size=50), st.integers(1, 5), st.floats(0.1, 3))
def test_never_more_than_burst_and_rate_allow(waits, burst, rate):
    """The count of what was allowed in any run from the start is bounded."""
    bucket = TokenBucket(Rate(burst, rate))
    now = 0.0
    for allowed, wait in enumerate(waits, 1):
        now += wait
        if not bucket.take(now):
            return
        assert allowed <= burst + rate * now + 1e-6
