# SPDX-License-Identifier: Apache-2.0
"""When a backend fetches the key set, and which one it verifies with meanwhile. It does no I/O: the caller fetches."""

from __future__ import annotations

from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.assertion.refusal import AssertionRefused
from mezite.core.assertion.verifier import key_id_of

__all__ = ["AssertionKeyCache"]

MAX_AGE_S = 3600
"""As the hub's Cache-Control says."""

MIN_PAUSE_S = 30
"""Between two fetches, whatever is asked for: anybody can send a kid that nobody knows, or the hub may be down."""


class AssertionKeyCache:
    """The latest key set, and when to fetch another one.

    Before each verification ask ``claim_fetch``; when it says so, fetch, and hand over the body with ``store``. When
    that fails do nothing: the keys that are known stay, and half a minute later somebody is asked again. ``keys`` is
    what to verify with; before the first key set it has none, so that everything is refused.
    """

    def __init__(self) -> None:
        self.keys = AssertionKeys({})
        self._stored_at: float | None = None
        self._claimed_at: float | None = None

    def claim_fetch(self, token: str | bytes | None, now: float) -> bool:
        """Whether the caller is to fetch the key set before it verifies ``token``; nobody else is asked to meanwhile.

        ``now`` is ``time.monotonic()``.
        """
        if self._claimed_at is not None and now - self._claimed_at < MIN_PAUSE_S:
            return False
        is_old = self._stored_at is None or now - self._stored_at >= MAX_AGE_S
        if not is_old and not self._lacks(token):
            return False
        self._claimed_at = now
        return True

    def store(self, body: bytes | str, now: float) -> None:
        """Take over a key set. Raises InvalidKeySetError: it is none; what was known stays."""
        self.keys = AssertionKeys.parse(body)
        self._stored_at = now

    def _lacks(self, token: str | bytes | None) -> bool:
        try:
            return key_id_of(token) not in self.keys.by_id
        except AssertionRefused:
            return False
