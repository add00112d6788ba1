# SPDX-License-Identifier: Apache-2.0
"""Who may stay while nobody knows yet who they are, and who has to go when the room is full (threats A11, T8).

Refusing newcomers when the room is full lets a few hundred silent connections shut everybody else out: an honest client
needs its place for a second, a hostile one sits. So whoever comes in when it is crowded takes the place of the one that
has waited longest, when that is longer than honest clients need. Else the first of the source that has the most places
goes, as long as the newcomer's has fewer.
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

    patience: float = 3.0
    """Seconds after which anybody may be replaced: honest hand-shakes are over by then, even on a busy hub."""
    _by_source: dict[str, dict[Place, None]] = attrs.field(factory=dict, init=False)
    _all: dict[Place, None] = attrs.field(factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._all)

    def count(self, source: str) -> int:
        """How many places a source has."""
        return len(self._by_source.get(source, ()))

    def enter(self, place: Place) -> None:
        """Take a place, without a limit: ask before."""
        self._by_source.setdefault(place.source, {})[place] = None
        self._all[place] = None

    def leave(self, place: Place) -> bool:
        """Give a place back; False when it was given back or taken away before."""
        if place not in self._all:
            return False
        del self._all[place]
        self._leave_source(place)
        return True

    def _leave_source(self, place: Place) -> None:
        of_source = self._by_source[place.source]
        del of_source[place]
        if not of_source:
            del self._by_source[place.source]

    def move(self, place: Place, source: str) -> None:
        """The place is another source's, as turns out; one that is gone stays gone."""
        present = place in self._all
        if present:
            self._leave_source(place)
        place.source = source
        if present:
            self._by_source.setdefault(source, {})[place] = None

    def make_room(self, source: str, now: float) -> bool:
        """Dismiss somebody in favour of a newcomer from ``source``; False when that would not be fair."""
        if not self._all:
            return False
        place = next(iter(self._all))
        if now - place.since < self.patience:
            crowd = max(self._by_source.values(), key=len)
            if len(crowd) <= self.count(source) + 1:
                return False
            place = next(iter(crowd))
        self.leave(place)
        place.dismiss()
        return True
