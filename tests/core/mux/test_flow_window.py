# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import FRAMES_PER_GRANT, GrowthPool, ReceiveWindow, RoundTrips


def test_grants_come_in_halves() -> None:
    window = ReceiveWindow(1000)
    window.receive(600)
    assert not window.consume(499)
    assert window.unconsumed == 101
    assert window.consume(1)
    assert window.grant() == 500
    assert not window.consume(100)


def test_more_data_than_credit_b2() -> None:
    window = ReceiveWindow(1000)
    window.receive(1000)
    with pytest.raises(RemoteProtocolError) as caught:
        window.receive(1)
    assert caught.value.code == ErrorCode.FLOW_CONTROL


@pytest.mark.parametrize("count", [-1, 101])
def test_consuming_what_was_not_received(count: int) -> None:
    window = ReceiveWindow(1000)
    window.receive(100)
    with pytest.raises(LocalProtocolError):
        window.consume(count)


def test_the_pool_keeps_something_for_those_that_follow() -> None:
    pool = GrowthPool(100)
    assert pool.take(50)
    assert not pool.take(26)
    assert pool.take(25)
    pool.give_back(75)
    assert pool.free == 100


def test_pongs_answer_pings_in_order() -> None:
    trips = RoundTrips()
    assert (trips.next_ping(), trips.next_ping()) == (1, 2)
    trips.pong(1)
    assert trips.under_way == 1
    trips.pong(2)
    for token in (2, 3):
        with pytest.raises(RemoteProtocolError) as caught:
            trips.pong(token)
        assert caught.value.code == ErrorCode.PROTOCOL_ERROR


def reading(window: ReceiveWindow, count: int) -> None:
    window.receive(count)
    window.consume(count)


def test_a_window_shorter_than_the_path_doubles() -> None:
    trips, pool, window = RoundTrips(), GrowthPool(10_000), ReceiveWindow(1000)
    window.grant()
    window.probe = trips.next_ping()
    reading(window, 500)
    trips.grow(window, 4000, pool)
    assert window.size == 2000
    assert window.grant() == 1500


def test_a_window_whose_ping_returned_in_time_stays() -> None:
    trips, pool, window = RoundTrips(), GrowthPool(10_000), ReceiveWindow(1000)
    window.probe = trips.next_ping()
    trips.pong(1)
    for _ in range(FRAMES_PER_GRANT):
        reading(window, 50)
    trips.grow(window, 4000, pool)
    assert window.size == 1000


def test_a_window_that_few_frames_fill_doubles() -> None:
    trips, pool, window = RoundTrips(), GrowthPool(10_000), ReceiveWindow(1000)
    for _ in range(FRAMES_PER_GRANT - 1):
        reading(window, 60)
    trips.grow(window, 4000, pool)
    assert window.size == 2000
    window.grant()
    assert window.frames == 0


def test_a_reader_that_does_not_keep_up_keeps_its_window() -> None:
    trips, pool, window = RoundTrips(), GrowthPool(10_000), ReceiveWindow(1000)
    window.receive(1000)
    window.consume(600)
    trips.grow(window, 4000, pool)
    assert window.size == 1000


@pytest.mark.parametrize(
    ("largest", "free", "size"), [(1000, 9000, 1000), (1500, 9000, 1500), (4000, 1999, 1000)]
)
def test_growth_ends_at_the_largest_and_at_the_pool(largest: int, free: int, size: int) -> None:
    window = ReceiveWindow(1000)
    reading(window, 1000)
    RoundTrips().grow(window, largest, GrowthPool(free))
    assert window.size == size


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900))))
def test_unread_data_never_exceeds_the_window(steps: list[tuple[int, int]]) -> None:
    window, credit = ReceiveWindow(1000), 1000
    for sent, consumed in steps:
        received = min(sent, credit)
        credit -= received
        window.receive(received)
        if window.consume(min(consumed, window.unconsumed)):
            credit += window.grant()
        assert window.unconsumed + credit <= 1000
