# SPDX-License-Identifier: Apache-2.0
"""Asking an HTTP proxy for a connection (CONNECT, RFC 9110 section 9.3.6); its answer is read strictly.

Behind a proxy's answer come the bytes of somebody else. Where the answer ends must not be a matter of taste, so
line ends are exact, the head has a limit, and what follows it is kept apart.
"""

from __future__ import annotations

import re
from typing import Final

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError

__all__ = ["ConnectAnswer", "HttpConnect"]

MAX_HEAD_BYTES: Final = 16 * 1024
"""Answers are a few hundred bytes; those of proxies that want to negotiate some KiB."""

MAX_INTERIM: Final = 4
"""1xx answers before the real one; nobody was asked for any."""

HEAD_END = b"\r\n\r\n"
BARE_LINE_FEED = re.compile(rb"(?<!\r)\n")
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: ([\t -~\x80-\xff]{0,200}))?")
FIELD_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t -~\x80-\xff]*")
HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}")


@attrs.frozen
class ConnectAnswer:
    """What the proxy says."""

    status: int
    reason: str
    """Printable ASCII, other bytes as `?`."""

    @property
    def accepted(self) -> bool:
        """Whether the bytes that follow come from the destination."""
        return 200 <= self.status < 300

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".rstrip()


class HttpConnect:
    """One request for a connection to ``host:port``.

    Send :meth:`data_to_send`, feed :meth:`receive_data` until :attr:`answer` is there, and take
    :meth:`trailing_data`: what the destination has said already.
    """

    def __init__(self, host: str, port: int, *, authorization: str | None = None) -> None:
        """Raises :exc:`LocalProtocolError` for a host or value that cannot stand in a header."""
        if HOST.fullmatch(host) is None or not 0 < port <= 65_535:
            raise LocalProtocolError(f"cannot ask a proxy for {host!r}:{port}")
        if authorization is not None and not (authorization.isascii() and authorization.isprintable()):
            raise LocalProtocolError("the authorization holds control characters")
        self._target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._authorization = authorization
        self._buffer = bytearray()
        self._searched = 0
        self._interim = 0
        self.answer: ConnectAnswer | None = None

    def data_to_send(self) -> bytes:
        """The request, the same each time."""
        lines = [f"CONNECT {self._target} HTTP/1.1", f"Host: {self._target}"]
        if self._authorization is not None:
            lines.append(f"Proxy-Authorization: {self._authorization}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes from the proxy; empty at their end.

        Raises :exc:`RemoteProtocolError` for an answer that is none, is too long, or is cut off.
        """
        if not data and self.answer is None:
            raise RemoteProtocolError("the proxy closed the connection without a complete answer")
        self._buffer += data
        while self.answer is None and (head := self._next_head()) is not None:
            answer = parse_answer(head)
            if answer.status >= 200:
                self.answer = answer
            elif answer.status == 101 or self._interim == MAX_INTERIM:
                raise RemoteProtocolError(f"the proxy answered {answer.status}, which nobody asked for")
            self._interim += 1

    def trailing_data(self) -> bytes:
        """What came behind the answer; empty the second time."""
        if self.answer is None:
            raise LocalProtocolError("there is no answer yet")
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _next_head(self) -> bytes | None:
        end = self._buffer.find(HEAD_END, max(0, self._searched - len(HEAD_END) + 1))
        size = len(self._buffer) if end < 0 else end + len(HEAD_END)
        if BARE_LINE_FEED.search(self._buffer, self._searched, size):
            raise RemoteProtocolError("a line of the proxy's answer ends in a bare line feed")
        if size > MAX_HEAD_BYTES:
            raise RemoteProtocolError(f"the proxy's answer is longer than {MAX_HEAD_BYTES} bytes")
        if end < 0:
            self._searched = size
            return None
        self._searched = 0
        head = bytes(self._buffer[:size])
        del self._buffer[:size]
        return head


def parse_answer(head: bytes) -> ConnectAnswer:
    """Read a head that ends in an empty line."""
    status_line, *fields = head[: -len(HEAD_END)].split(b"\r\n")
    matched = STATUS_LINE.fullmatch(status_line)
    if matched is None:
        raise RemoteProtocolError("the proxy does not answer in HTTP/1")
    if not all(FIELD_LINE.fullmatch(line) for line in fields):
        raise RemoteProtocolError("the proxy's answer holds a line that is no header field")
    reason = (matched[2] or b"").decode("ascii", "replace").replace("\ufffd", "?").replace("\t", " ")
    return ConnectAnswer(int(matched[1]), reason.strip())
