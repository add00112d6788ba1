# SPDX-License-Identifier: Apache-2.0
"""How often what strangers do is worth a line in the log (threat P15)."""

from __future__ import annotations

import math

import attrs

__all__ = ["LOG_BURST", "LOG_INTERVAL_SECONDS", "LogBudget"]

LOG_BURST = 20
"""Records in one interval: enough to see what goes on, and two a second in the long run."""

LOG_INTERVAL_SECONDS = 10.0


@attrs.define(eq=False)
class LogBudget:
    """A bounded number of records per interval; the rest is counted.

    The programs bound their whole log as well, line by line (`cli/log_setup.py`); this is for whoever uses a listener
    of ours as a library, with a log of his own.
    """

    _window_start: float = -math.inf
    _used: int = 0
    _left_out: int = 0

    def allows(self, now: float) -> bool:
        """Return whether to write a record; one that is not written is counted. `now` is in seconds."""
        if now - self._window_start >= LOG_INTERVAL_SECONDS:
            self._window_start = now
            self._used = 0
        self._used += 1
        if self._used > LOG_BURST:
            self._left_out += 1
            return False
        return True

    def take_left_out(self) -> str:
        """Return how many were left out since the last time, as the end of a message; empty for none."""
        left_out, self._left_out = self._left_out, 0
        return f" ({left_out} like records left out)" if left_out else ""
