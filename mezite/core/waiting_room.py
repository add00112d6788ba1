# SPDX-License-Identifier: Apache-2.0
"""Who may stay while nobody knows yet who they are, and who has to go when the room is full (threats A11, T8).

Refusing newcomers when the room is full lets a few hundred silent connections shut everybody else out: an honest client
needs its place for a second, a hostile one sits. So whoever comes in when it is crowded takes the place of the one that
has waited longest among those from the source that has most, as long as that is fair: a source that has more places
than the newcomer's, or somebody who has waited longer than honest clients need.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

__all__ = ["Place", "WaitingRoom"]


@attrs.define(eq=False)
class Place:
    """One who waits. Times are seconds of any monotonic clock."""

    source: str
    since: float
    dismiss: Callable[[], None]
    """Called when the place is given to somebody else; must not raise."""


@attrs.define(eq=False, kw_only=True)
class WaitingRoom:
    """Keeps places by source, in the order in which they were taken."""

    patience: float = 5.0
    """Seconds after which anybody may be replaced: honest hand-shakes are over by then, even on a busy hub."""
    _by_source: dict[str, dict[Place, None]] = attrs.field(factory=dict, init=False)
    _count: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        return self._count

    def count(self, source: str) -> int:
        """How many places a source has."""
        return len(self._by_source.get(source, ()))

    def enter(self, place: Place) -> None:
        """Take a place, without a limit: ask before."""
        self._by_source.setdefault(place.source, {})[place] = None
        self._count += 1

    def leave(self, place: Place) -> bool:
        """Give a place back; False when it was given back or taken away before."""
        of_source = self._by_source.get(place.source, {})
        if place not in of_source:
            return False
        del of_source[place]
        if not of_source:
            del self._by_source[place.source]
        self._count -= 1
        return True

    def move(self, place: Place, source: str) -> None:
        """The place is another source's, as turns out; one that is gone stays gone."""
        present = self.leave(place)
        place.source = source
        if present:
            self.enter(place)

    def make_room(self, source: str, now: float) -> bool:
        """Dismiss somebody in favour of a newcomer from ``source``; False when that would not be fair."""
        if not self._by_source:
            return False
        crowd = max(self._by_source.values(), key=len)
        longest = next(iter(crowd))
        if len(crowd) <= self.count(source) + 1 and now - longest.since < self.patience:
            return False
        self.leave(longest)
        longest.dismiss()
        return True
