# SPDX-License-Identifier: Apache-2.0
"""A11: slots of connections that have not authenticated."""

from functools import partial

import pytest

from mezite.ssh.errors import ConnectionLostError
from mezite.ssh.limits import StartupLimiter


def test_total_and_per_source():
    limiter = StartupLimiter(total=3, per_source=2)
    slots = [limiter.take("a"), limiter.take("a")]
    with pytest.raises(ConnectionLostError, match="a has 2 connections"):
        limiter.take("a")
    slots.append(limiter.take("b"))
    with pytest.raises(ConnectionLostError, match="3 connections"):
        limiter.take("b")
    for slot in slots:
        slot.release()
        slot.release()
    assert limiter.pending == 0


def test_who_sits_at_the_door_makes_room_for_others():
    """T8: with all slots taken by stalled clients of a few addresses, an honest one still gets in."""
    gone = []
    limiter = StartupLimiter(total=6, per_source=3)
    slots = [limiter.take(source, dismiss=partial(gone.append, source)) for source in "aaabbb"]
    honest = limiter.take("c")
    assert (gone, limiter.pending) == (["a"], 6)
    slots[0].release()
    assert limiter.pending == 6
    honest.release()
    assert limiter.pending == 5
