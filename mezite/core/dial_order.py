# SPDX-License-Identifier: Apache-2.0
"""In which order the agents of an application are tried, and for how long one that fails is left alone.

Being avoided changes the order only: when nobody else is left, an avoided agent is tried all the same, so a caller is
never refused because of what happened to others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["Candidate", "Outliers", "dial_order"]

FIRST_SECONDS: Final = 2.0
"""After one failed dial: a service that restarts is back by then."""
LONGEST_SECONDS: Final = 120.0
"""An agent that has been mended is used again within two minutes at the latest."""
MAX_FAILING: Final = 4096
"""Pairs of application and agent that are remembered as failing; beyond, the oldest failure is forgotten."""


@attrs.frozen
class Candidate:
    """One agent that could be tried."""

    key: str
    """The agent's id."""
    load: int = 0
    """What it carries at this moment; only compared."""
    avoided_until: float = 0.0
    """As `Outliers.avoided_until`; in the past when it is not avoided."""
    unhealthy: bool = False
    """The application does not pass its health check there."""


def dial_order(candidates: Iterable[Candidate], *, now: float, turn: int) -> list[str]:
    """Keys in the order to try them: who is not avoided before who is, then by load; equals take turns by ``turn``.

    Among the avoided ones, whose time is up first comes first. Whoever is unhealthy comes after all others.
    """
    offered = list(candidates)
    if not offered:
        return []
    first = turn % len(offered)
    rotated = offered[first:] + offered[:first]
    rotated.sort(key=lambda each: (each.unhealthy, max(each.avoided_until, now), each.load))
    return [each.key for each in rotated]


@attrs.define
class _Failing:
    failures: int
    failed_at: float
    avoided_until: float


class Outliers:
    """Who has failed lately, by any hashable key; times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._failing: dict[tuple[str, str], _Failing] = {}

    def __len__(self) -> int:
        """How many are remembered as failing."""
        return len(self._failing)

    def avoided_until(self, key: tuple[str, str]) -> float:
        """Until when to try others first; 0 when it has not failed since it last worked."""
        known = self._failing.get(key)
        return 0.0 if known is None else known.avoided_until

    def trying(self, key: tuple[str, str], *, now: float, seconds: float) -> None:
        """A dial begins that takes ``seconds`` at most.

        After a failure, one caller finds out whether it works again; the others go elsewhere meanwhile.
        """
        known = self._failing.get(key)
        if known is not None:
            known.avoided_until = max(known.avoided_until, now + seconds)

    def failed(self, key: tuple[str, str], *, began: float, now: float) -> None:
        """A dial has failed: avoid it for 2 s, and twice as long after each further failure, up to two minutes.

        A dial that ``began`` before the last failure was known says nothing new.
        """
        known = self._failing.get(key)
        if known is not None and began < known.failed_at:
            return
        failures = 1 if known is None else known.failures + 1
        wait = min(FIRST_SECONDS * 2 ** min(failures - 1, 16), LONGEST_SECONDS)
        self._failing.pop(key, None)
        self._failing[key] = _Failing(failures, now, now + wait)
        if len(self._failing) > MAX_FAILING:
            del self._failing[next(iter(self._failing))]

    def worked(self, key: tuple[str, str]) -> None:
        """A dial has succeeded: nothing is held against it any more."""
        self._failing.pop(key, None)
