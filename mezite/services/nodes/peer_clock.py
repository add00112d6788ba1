# SPDX-License-Identifier: Apache-2.0
"""Whether another machine's clock is close enough to ours for certificates to work."""

from __future__ import annotations

from mezite.core.durations import format_duration
from mezite.services.errors import ClockSkewError

__all__ = ["MAX_SKEW_MS", "check_clock"]

MAX_SKEW_MS = 5 * 60 * 1000
"""Certificates are backdated by five minutes: a clock further behind would refuse what it was just given (F6)."""


def check_clock(theirs: int, ours: int) -> None:
    """Refuse a clock that is too far off for the certificates to work.

    :raises ClockSkewError: by how much, and what to do (threat F6).
    """
    off = theirs - ours
    if abs(off) > MAX_SKEW_MS:
        direction = "ahead of" if off > 0 else "behind"
        raise ClockSkewError(
            f"this machine's clock is {format_duration(abs(off) // 1000)} {direction} the hub's: "
            "certificates would not be valid; set the clock (NTP) and start again"
        )
