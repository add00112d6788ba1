# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest

from mezite.core.mux.limits import MuxLimits


def test_full_channels_leave_the_growth_to_others_b3() -> None:
    limits = MuxLimits()
    assert (limits.connection_window - limits.window_growth) // limits.channel_window == 512


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_frame", 4095),
        ("max_frame", 2**20 + 1),
        ("max_channels", -1),
        ("max_channels", 65537),
        ("accept_backlog", -1),
        ("channel_window", 4095),
        ("channel_window", 2**25),
        ("channel_window_max", 2**24 + 1),
        ("connection_window", 1000),
        ("connection_window", 2**31),
        ("window_growth", -1),
        ("window_growth", 2**26),
        ("send_buffer_floor", 0),
        ("send_buffer_floor", 2**21),
        ("channel_send_buffer", 2**30),
        ("reply_buffer", 4095),
    ],
)
def test_contradictions_are_named(name: str, value: int) -> None:
    with pytest.raises(ValueError, match="mux limits out of range"):
        attrs.evolve(MuxLimits(), **{name: value})
