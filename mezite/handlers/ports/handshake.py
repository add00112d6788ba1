# SPDX-License-Identifier: Apache-2.0
"""TLS on an accepted connection."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

import trio

from mezite.net.accept_loop import Connection
from mezite.net.tls_stream import TlsStream

__all__ = ["HANDSHAKE_SECONDS", "handshake", "handshake_deadline"]

HANDSHAKE_SECONDS = 10
"""Honest TLS handshakes take a few round trips; the accept loop's own deadline covers everything before."""


@contextmanager
def handshake_deadline() -> Iterator[None]:
    """Give one handshake its time. :raises trio.BrokenResourceError: the peer takes longer."""
    with trio.move_on_after(HANDSHAKE_SECONDS) as deadline:
        yield
    if deadline.cancelled_caught:
        # As a peer that goes away, which is no news: slow scanners must not fill the log (threat P15).
        raise trio.BrokenResourceError(f"no TLS handshake within {HANDSHAKE_SECONDS} s")


async def handshake(connection: Connection, context: ssl.SSLContext) -> TlsStream:
    """Run our side of a TLS handshake on an accepted connection, under a deadline of its own.

    Raises what TlsStream.do_handshake raises, and :exc:`trio.BrokenResourceError` when the peer takes too long.
    """
    stream = TlsStream(connection.stream, context, server_side=True)
    with handshake_deadline():
        await stream.do_handshake(connection.turn)
    connection.established()
    return stream
