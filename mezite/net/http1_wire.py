# SPDX-License-Identifier: Apache-2.0
"""The bytes of one HTTP/1 server connection: what is read, what is written, and when it is over."""

from __future__ import annotations

import contextlib
import email.utils
import http
import json

import h11
import trio

from mezite.core.http1.request_head import MAX_HEAD_BYTES, RequestHeadReader

from .byte_streams import can_send_eof, discard_unsent
from .http1_limits import Http1Limits

__all__ = ["ClientGoneError", "Http1Wire"]

#: Bytes per read; a request that is larger is a body, and those are not what this front is fast at.
READ_BYTES = 64 * 1024

#: Bytes per write, each under its own stall deadline: a slow client that keeps reading is served, however
#: large the response; one that stopped is cut.
WRITE_BYTES = 64 * 1024

#: A write that waits so long waits for the client, not for its turn on a busy hub.
SLOW_WRITE_SECONDS = 1.0

#: Bytes of a next request that are kept while the current one is answered. Pipelining clients wait.
MAX_AHEAD_BYTES = 64 * 1024


class ClientGoneError(trio.BrokenResourceError):
    """The client went away or does not read; the connection is over."""


class Http1Wire:
    """A stream, the reader of heads, and an ``h11`` connection that lives for one request.

    ``h11`` gets only heads that passed the strict gate. It lives for one request because it would go on with
    bytes that follow, past the gate.
    """

    def __init__(self, stream: trio.abc.Stream, limits: Http1Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._writing = trio.Lock()
        self.heads = RequestHeadReader()
        self.h11 = h11.Connection(h11.SERVER)
        self._slow = False
        self._taken = 0
        self._waited = 0.0
        self._patient = False
        #: no byte can be sent any more
        self.dead = False

    # -- one request

    def begin(self, head: bytes, limits: Http1Limits) -> None:
        """Give ``h11`` a head that passed the gate, and what came after it. ``limits`` are those of its host."""
        self._limits = limits
        if self._patient:
            # What has been waited for with patience is not held against what follows without.
            self._patient, self._slow, self._taken, self._waited = False, False, 0, 0.0
        self.h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=2 * MAX_HEAD_BYTES)
        self.h11.receive_data(head)
        request = self.h11.next_event()
        if not isinstance(request, h11.Request):
            raise h11.RemoteProtocolError("h11 and the gate disagree about a head")
        if rest := self.heads.take_rest():
            self.h11.receive_data(rest)

    def be_patient(self, limits: Http1Limits) -> None:
        """``limits`` hold for the rest of this request."""
        self._limits, self._patient = limits, True

    def end(self) -> None:
        """Take back what ``h11`` has of the next request."""
        rest, _ = self.h11.trailing_data
        self.heads.receive_data(rest)

    async def hand_over(self, response: bytes) -> tuple[trio.abc.Stream, bytes]:
        """Answer with ``response``, which ends HTTP here, and return the stream and what the client has sent behind.

        Nothing is read or written by this wire from now on. Raises :exc:`ClientGoneError`.
        """
        async with self._writing:
            await self._write(response)
            self.dead = True
        rest, _ = self.h11.trailing_data
        return self._stream, rest

    # -- reading

    async def read(self) -> bytes | bytearray:
        """Bytes from the client; empty at its end, however that came about."""
        try:
            return await self._stream.receive_some(READ_BYTES)
        except trio.BrokenResourceError:
            self.dead = True
            return b""

    async def wait_gone(self) -> None:
        """Return when the client has ended the connection. Of a next request some bytes are kept."""
        ahead = 0
        while ahead < MAX_AHEAD_BYTES:
            data = await self.read()
            if not data:
                self.dead = True
                return
            ahead += len(data)
            self.h11.receive_data(bytes(data))
        await trio.sleep_forever()

    # -- writing

    async def send(self, *events: h11.Event) -> None:
        """Serialise and write in one piece. Raises :exc:`ClientGoneError`, and :exc:`h11.LocalProtocolError` for bugs.

        Cancelled, the connection is over: an unknown part may be on the wire (threat P1).
        """
        async with self._writing:
            data = b"".join([self.h11.send(event) or b"" for event in events])
            if data:
                await self._write(data)

    async def _write(self, data: bytes) -> None:
        if self.dead:
            raise ClientGoneError("the connection is over")
        self.dead = True
        view = memoryview(data)
        for start in range(0, len(view), WRITE_BYTES):
            await self._write_piece(view[start : start + WRITE_BYTES])
        self.dead = False

    async def _write_piece(self, piece: memoryview) -> None:
        stall, began = self._limits.write_stall_seconds, trio.current_time()
        earned = stall + self._taken / self._limits.write_rate - self._waited
        with trio.CancelScope(deadline=began + min(stall, earned)) as scope:
            try:
                await self._stream.send_all(piece)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise ClientGoneError("the client closed the connection") from error
        if scope.cancelled_caught:
            discard_unsent(self._stream)
            raise ClientGoneError("the client does not read")
        spent = trio.current_time() - began
        self._waited += spent
        # What went out before the client was slow may all lie with the kernel; from then on room is what it has taken.
        self._slow = self._slow or spent > SLOW_WRITE_SECONDS
        if self._slow:
            self._taken += len(piece)

    async def refuse(self, status: int, message: str) -> None:
        """Answer with JSON ``{"error": message}`` and announce the end; does nothing when that is impossible.

        It may be the answer to bytes that were no request, so it is written without ``h11``.
        """
        body = json.dumps({"error": message}).encode() + b"\n"
        lines = (
            f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}",
            f"Date: {email.utils.formatdate(usegmt=True)}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
            "",
            "",
        )
        with contextlib.suppress(ClientGoneError):
            async with self._writing:
                await self._write("\r\n".join(lines).encode("ascii") + body)

    async def close(self) -> None:
        """End politely: say so, take the client's last bytes for a moment, close."""
        if not self.dead and can_send_eof(self._stream):
            with trio.move_on_after(self._limits.linger_seconds):
                with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._stream.send_eof()  # type: ignore[attr-defined]
                    while await self._stream.receive_some(READ_BYTES):
                        pass
        await self._stream.aclose()
