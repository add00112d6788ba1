# SPDX-License-Identifier: Apache-2.0
"""How often something may be tried: a burst, then a steady rate, for each of many sources.

The generic cell rate algorithm: of each source one number is kept, the time at which its budget is full again. A source
whose budget is full is not kept at all, so memory is what the recently active ones take.
"""

import attrs

__all__ = ["AttemptBudget"]

MAX_SOURCES = 10_000
"""About 1 MiB. Beyond it the source that was quiet for longest starts anew: who commands more addresses than that
has as many attempts anyway."""

ROUNDING = 1e-6
"""Of an interval: what adding up times in floating point may be off."""


@attrs.define(eq=False, kw_only=True)
class AttemptBudget:
    """Counts attempts. Times are seconds on any clock that does not go back."""

    burst: int
    """Attempts that may follow each other at once."""
    interval: float
    """Seconds in which one attempt comes back."""
    _full_at: dict[str, float] = attrs.field(factory=dict, init=False)

    def take(self, source: str, now: float) -> float:
        """Count an attempt and return 0; or, when the budget is used up, the seconds until there is one again."""
        full_at = max(self._full_at.pop(source, now), now) + self.interval
        wait = full_at - now - self.burst * self.interval
        if wait > ROUNDING * self.interval:
            self._full_at[source] = full_at - self.interval
            return wait
        self._full_at[source] = full_at
        if len(self._full_at) > MAX_SOURCES:
            del self._full_at[next(iter(self._full_at))]
        return 0.0

    def give_back(self, source: str, now: float) -> None:
        """Take one counted attempt back: it was an honest one."""
        full_at = self._full_at.pop(source, now) - self.interval
        if full_at > now:
            self._full_at[source] = full_at

    def __len__(self) -> int:
        """How many sources are kept."""
        return len(self._full_at)
