# SPDX-License-Identifier: Apache-2.0
"""A11: slots of connections that have not authenticated."""

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
        limiter.take("c")
    for slot in slots:
        slot.release()
        slot.release()
    assert limiter.pending == 0
    assert not limiter._by_source
