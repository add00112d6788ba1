# SPDX-License-Identifier: Apache-2.0
"""HTTP/2, server side, on any Trio stream: requests go to a handler, each in a task of its own."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable

import h2.errors
import trio

from mezite.core.h2c import UpgradeRequest
from mezite.net.http2_connection import ConnectionHooks
from mezite.net.http2_driver import Http2Driver
from mezite.net.http2_limits import FrameKind, Http2Limits
from mezite.net.http2_request import RequestHead, RequestRefusedError, parse_request
from mezite.net.http2_stream import Http2Error, Http2Stream

__all__ = ["Http2ServerConnection", "RequestHandler"]

logger = logging.getLogger("mezite.net.http2")

RequestHandler = Callable[[RequestHead, Http2Stream], Awaitable[None]]
"""Reads the request from the stream and answers on it. It is cancelled when the client resets the stream or
the
connection ends. When it returns without having ended its half, the stream is reset."""


class Http2ServerConnection:
    """One connection. At most ``limits.max_streams`` handlers run at once, and as many requests wait.

    h2 bounds the streams that are open; this also bounds the handlers of streams that were reset and have
    not noticed yet (threat D12, rapid reset).
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        handler: RequestHandler,
        limits: Http2Limits | None = None,
        *,
        upgrade: UpgradeRequest | None = None,
    ) -> None:
        """``upgrade`` asked for this connection in HTTP/1.1, and 101 was answered: it is the first request."""
        self._limits = limits or Http2Limits()
        self._handler = handler
        self._running = 0
        self._waiting: deque[tuple[RequestHead, Http2Stream]] = deque()
        self._nursery: trio.Nursery | None = None
        hooks = ConnectionHooks(output=lambda: None, request=self._accept, stream_end=self._forget_waiting)
        self._driver = Http2Driver(stream, self._limits, hooks, client_side=False, upgrade=upgrade)

    async def run(self) -> None:
        """Serve until the connection has ended; closes the stream.

        Never raises for what the client, the network or a handler did. Cancelling cuts the connection.
        """
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._driver.connection.receive_upgraded_request()
            await self._driver.run()
            # Streams have failed, which cancels their handlers; one that is past its answer gets a moment.
            nursery.cancel_scope.deadline = trio.current_time() + self._limits.closing

    def drain(self) -> None:
        """End gracefully: requests that are here or on their way are served, then the connection closes."""
        self._driver.drain()

    def _accept(self, stream: Http2Stream) -> None:
        try:
            head = parse_request(stream.received_headers or (), self._limits)
        except RequestRefusedError as error:
            # As good for a flood as a reset: it costs the client nothing, and no handler slot.
            self._driver.connection.gate.take(FrameKind.RESET, trio.current_time())
            stream.send_headers([(b":status", error.status)], end_stream=True)
            return
        if self._running < self._limits.max_streams:
            self._start(head, stream)
        else:
            # All of these are open, and h2 ends the connection of a peer with more than ``max_streams`` open.
            self._waiting.append((head, stream))

    def _start(self, head: RequestHead, stream: Http2Stream) -> None:
        if self._nursery is not None:
            self._running += 1
            self._nursery.start_soon(self._handle, head, stream)

    async def _handle(self, head: RequestHead, stream: Http2Stream) -> None:
        try:
            with stream.cancel_scope:
                await self._handler(head, stream)
        except Http2Error as error:
            # The client or the connection has gone.
            logger.debug("request of %s ended early: %s", head.path, error)
        except Exception:
            # The wall: whatever one request does, the connection and its other requests live on (threat P3).
            logger.exception("handler of %s failed", head.path)
        finally:
            self._running -= 1
            if not stream.local_ended:
                stream.reset(h2.errors.ErrorCodes.INTERNAL_ERROR)
            if self._waiting:
                self._start(*self._waiting.popleft())

    def _forget_waiting(self, stream: Http2Stream) -> None:
        for entry in self._waiting:
            if entry[1] is stream:
                self._waiting.remove(entry)
                return
