# SPDX-License-Identifier: Apache-2.0
"""Last words to a peer at the wrong door, in its own protocol, in such a way that it gets to read them."""

from __future__ import annotations

import email.utils
import http

import trio
from hyperframe.frame import GoAwayFrame, SettingsFrame

from mezite.net.byte_streams import can_send_eof
from mezite.net.connection_limits import BudgetExceededError

__all__ = ["refuse", "refuse_http1", "refuse_http2"]

REFUSAL_SECONDS = 2.0
"""For the peer to take the words and end its side."""
DRAINED_BYTES = 64 * 1024
"""Of what the peer was still sending. A socket that is closed with unread data resets the connection, and the reset
overtakes the words (RFC 9112 section 9.6)."""


async def refuse(stream: trio.abc.Stream, words: bytes) -> None:
    """Send ``words`` and end our half; the caller closes ``stream``.

    Takes two seconds at most and raises nothing for what the peer does.
    """
    with trio.move_on_after(REFUSAL_SECONDS):
        try:
            await stream.send_all(words)
            if can_send_eof(stream):
                await stream.send_eof()  # type: ignore[attr-defined]
            left = DRAINED_BYTES
            while left > 0 and (data := await stream.receive_some(left)):
                left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError, BudgetExceededError):
            return


async def refuse_http1(
    stream: trio.abc.Stream, status: int, text: str, *, upgrade: str = "", head_only: bool = False
) -> None:
    """Answer a request of HTTP/1 with ``status`` and ``text``, as :func:`refuse` does.

    ``upgrade`` names the protocol to come back with, as 426 must; ``head_only`` answers a HEAD.
    """
    body = text.encode()
    lines = (
        f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
        f"Date: {email.utils.formatdate(usegmt=True)}",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        *((f"Upgrade: {upgrade}", "Connection: Upgrade, close") if upgrade else ("Connection: close",)),
        "",
        "",
    )
    head = "\r\n".join(lines).encode("ascii")
    await refuse(stream, head if head_only else head + body)


async def refuse_http2(stream: trio.abc.Stream, error_code: int, text: str) -> None:
    """End a connection of HTTP/2 before its first request, with ``text`` for whoever reads the client's log."""
    goaway = GoAwayFrame(0, error_code=error_code, additional_data=text.encode())
    await refuse(stream, SettingsFrame(0).serialize() + goaway.serialize())
