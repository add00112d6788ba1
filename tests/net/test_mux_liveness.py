# SPDX-License-Identifier: Apache-2.0
from mezite.net.mux_liveness import Keepalive, Liveness


def test_round_trips_are_measured_from_our_pings() -> None:
    liveness = Liveness(100.0)
    liveness.ping_sent(1, 105.0)
    assert liveness.under_way == 1
    liveness.pong_received(2, 105.1)
    assert liveness.round_trip is None
    liveness.pong_received(1, 105.25)
    assert (liveness.round_trip, liveness.last_round_trip_at, liveness.under_way) == (0.25, 105.25, 0)


def test_silence_is_death_b4() -> None:
    liveness = Liveness(100.0)
    assert liveness.death(Keepalive(), 114.9) is None
    assert liveness.death(Keepalive(), 115.0) == "the peer has been silent for 15 s"
    liveness.last_received = 114.0
    assert liveness.death(Keepalive(), 128.9) is None
