# SPDX-License-Identifier: Apache-2.0
"""Find out what a connection speaks without consuming any of it."""

from __future__ import annotations

import trio

from mezite.core.client_hello import ClientHello, ClientHelloReader
from mezite.core.protocol_sniffer import MAX_SNIFFED_BYTES, NEED_DATA, Protocol, sniff

from .byte_streams import PushbackStream

__all__ = ["SERVER_FIRST_WAIT_SECONDS", "peek_client_hello", "peek_protocol"]

#: On a port where some clients wait for the server's greeting (old SSH clients), silence for this long is
#: their answer (threat C5). OpenSSH and TLS clients speak at once, so honest round trips fit in.
SERVER_FIRST_WAIT_SECONDS = 1.0

#: One read: most ClientHellos come whole.
_HELLO_RECEIVE_BYTES = 4096


async def peek_protocol(
    stream: PushbackStream, *, first_byte_seconds: float | None = None
) -> Protocol | None:
    """What the client speaks; all bytes read are put back into ``stream``.

    None means that nothing could be told: the client said nothing for ``first_byte_seconds`` (None waits for
    ever) or ended the connection early; the next receive tells these apart. Once a first byte is there the
    rest is waited for under the caller's deadline.
    """
    seen = bytearray()
    try:
        with trio.CancelScope() as scope:
            if first_byte_seconds is not None:
                scope.deadline = trio.current_time() + first_byte_seconds
            while data := await stream.receive_some(MAX_SNIFFED_BYTES):
                scope.deadline = float("inf")
                seen += data
                protocol = sniff(bytes(seen))
                if protocol is not NEED_DATA:
                    return protocol
    finally:
        stream.push_back(seen)
    return None


async def peek_client_hello(stream: PushbackStream) -> ClientHello:
    """What a TLS client asks for; all bytes read are put back into ``stream``.

    Raises :exc:`RemoteProtocolError` for anything but a ClientHello of reasonable size, and
    :exc:`trio.BrokenResourceError` when the connection ends before it is complete. The caller sets the deadline.
    """
    seen = bytearray()
    reader = ClientHelloReader()
    try:
        while data := await stream.receive_some(_HELLO_RECEIVE_BYTES):
            seen += data
            reader.receive_data(data)
            hello = reader.next_event()
            if hello is not NEED_DATA:
                return hello
    finally:
        stream.push_back(seen)
    raise trio.BrokenResourceError("the connection ended in its ClientHello")
