# SPDX-License-Identifier: Apache-2.0
import typing

import attrs
import pytest

from mezite.core.mux import events
from mezite.core.mux.events import NEED_DATA, ChannelClosed, Event


def test_need_data_shows_its_name() -> None:
    assert repr(NEED_DATA) == "NEED_DATA"


def test_every_event_is_a_frozen_value() -> None:
    for kind in typing.get_args(Event):
        assert attrs.has(kind)
        assert kind.__name__ in events.__all__
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ChannelClosed(1).channel_id = 2  # type: ignore[misc]
