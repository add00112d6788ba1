# SPDX-License-Identifier: Apache-2.0
"""How a hub knows its own probes again when they come back through a load balancer.

A probe carries a secret that exists for the length of one test, in memory only. A port that meets it writes down from
where the probe seems to come, and treats the connection as any other: whoever sends a secret that is not expected
learns and changes nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import attrs

__all__ = ["PROBE_HEADER", "SelfProbes", "Sighting", "probe_protocol"]

PROBE_HEADER = "hub-probe"
"""Header field and gRPC metadata that carry the secret where TLS ends ahead of the hub. Not a name of ours: those are
for what the hub itself says to applications, and are removed from every request."""

_PROTOCOL_PREFIX = "mezite-probe/"

MAX_EXPECTED = 16
"""A test expects one for each of the four ports; tests do not run at the same time."""


def probe_protocol(token: str) -> str:
    """Return the ALPN name that carries ``token`` in a ClientHello. No server ever picks it."""
    return f"{_PROTOCOL_PREFIX}{token}"


@attrs.frozen
class Sighting:
    """A probe as the hub met it."""

    client_address: str
    """``ip:port`` of the client as the hub sees it; port 0 when a header named it."""
    peer_address: str = ""
    """``ip:port`` of the TCP peer, where that is known."""


@attrs.define(eq=False)
class SelfProbes:
    """The probes that are under way."""

    _expected: dict[str, Sighting | None] = attrs.field(factory=dict, repr=False)

    @contextmanager
    def expect(self) -> Iterator[str]:
        """Expect one probe for the length of the block; yields its secret.

        Raises RuntimeError when too many are expected already.
        """
        if len(self._expected) >= MAX_EXPECTED:
            raise RuntimeError("too many probes at once")
        token = secrets.token_hex(16)
        self._expected[token] = None
        try:
            yield token
        finally:
            del self._expected[token]

    def note(self, token: str, sighting: Sighting) -> None:
        """A port has met this secret; nothing happens unless it is expected."""
        if token in self._expected:
            self._expected[token] = sighting

    def note_protocols(self, offered: Iterable[str], sighting: Sighting) -> None:
        """A port has met a ClientHello that offers these protocols."""
        for name in offered:
            if name.startswith(_PROTOCOL_PREFIX):
                self.note(name.removeprefix(_PROTOCOL_PREFIX), sighting)

    def seen(self, token: str) -> Sighting | None:
        """Return the last sighting of an expected probe."""
        return self._expected[token]
