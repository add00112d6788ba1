# SPDX-License-Identifier: Apache-2.0
"""How long to wait before dialling again (threats B5, B6)."""

import math

import attrs

__all__ = ["Backoff"]


@attrs.define(eq=False)
class Backoff:
    """Full-jitter exponential backoff as plain state: the caller brings the random number and does the
    waiting.

    The ceiling starts at ``initial`` seconds and doubles with every wait up to ``maximum``. Half a second is
    short enough for a hub that restarts, and with a minute at the top ten thousand agents that lost their
    hub come back at 170 a second.
    """

    initial: float = attrs.field(default=0.5)
    maximum: float = attrs.field(default=60.0)
    _ceiling: float = attrs.field(default=0.0, init=False)
    _named: float = attrs.field(default=0.0, init=False)
    _last: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """Check the bounds: both finite, ``0 < initial <= maximum``, else ValueError."""
        if not (0 < self.initial <= self.maximum < math.inf):
            raise ValueError("backoff needs 0 < initial <= maximum")

    @property
    def ceiling(self) -> float:
        """Seconds that the next wait cannot exceed, apart from one named by the peer."""
        if not self._ceiling:
            return self.initial
        return min(self._ceiling * 2, self.maximum)

    def next_wait(self, jitter: float) -> float:
        """Seconds to wait before the next dial; ``jitter`` is a fresh random number in [0, 1).

        A wait that the peer named is kept to, with up to ``initial`` seconds on top so that peers told the
        same do not come back as one.
        """
        if not 0 <= jitter < 1:
            raise ValueError("jitter must be in [0, 1)")
        if self._named:
            wait = self._named + jitter * self.initial
            self._named = 0.0
            self._last = wait
            return wait
        self._ceiling = self.ceiling
        self._last = self._ceiling
        return jitter * self._ceiling

    def peer_named_wait(self, seconds: float) -> None:
        """The peer asked (GOAWAY) not to be dialled for so long; 0 asks nothing. At most ``maximum`` is
        honoured: a peer must not be able to send us away for a day.
        """
        self._named = min(max(seconds, 0.0), self.maximum)

    def link_lasted(self, seconds: float) -> None:
        """A connection came up and ended after ``seconds``.

        Only one that outlived the longest possible last wait starts the doubling afresh; so a hub that
        accepts and drops at once is not dialled every half second, whatever the dice say.
        """
        if seconds > self._last:
            self._ceiling = 0.0
