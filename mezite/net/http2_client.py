# SPDX-License-Identifier: Apache-2.0
"""HTTP/2, client side, on any Trio stream."""

from __future__ import annotations

import math
from collections.abc import Iterable

import h2.exceptions
import trio

from mezite.net.http2_connection import ConnectionHooks
from mezite.net.http2_driver import Http2Driver
from mezite.net.http2_ending import EndingState
from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_request import Header
from mezite.net.http2_stream import Http2ConnectionLostError, Http2Stream

__all__ = ["DEFAULT_CLIENT_LIMITS", "Http2ClientConnection"]

DEFAULT_CLIENT_LIMITS = Http2Limits(
    idle=math.inf,
    max_age=math.inf,
    keepalive_interval=20.0,  # below the minute after which many middleboxes forget a connection
)
"""A client ends its connection when it is done; the server's limits are not ours to enforce."""


class Http2ClientConnection:
    """One connection. It does not reconnect: when it is lost or draining, the caller makes another."""

    def __init__(self, stream: trio.abc.Stream, limits: Http2Limits = DEFAULT_CLIENT_LIMITS) -> None:
        self._slot_free = trio.lowlevel.ParkingLot()
        hooks = ConnectionHooks(
            output=lambda: None, request=lambda _stream: None, stream_end=self._stream_ended
        )
        self._driver = Http2Driver(stream, limits, hooks, client_side=True)

    @property
    def is_usable(self) -> bool:
        """Whether a new stream may be opened: neither lost nor told to go away."""
        connection = self._driver.connection
        return self._driver.lost is None and connection.ending.state is EndingState.SERVING

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the connection until it has ended; closes the stream.

        Never raises for what the server or the network did: the streams tell. Cancelling cuts the connection.
        """
        task_status.started()
        try:
            await self._driver.run()
        finally:
            self._slot_free.unpark_all()

    async def open_stream(self, fields: Iterable[Header], *, end_stream: bool = False) -> Http2Stream:
        """Begin a request, when the server has room for one more.

        Raises Http2ConnectionLostError (``unprocessed``) when the connection takes none any more. Cancelling
        opens nothing.
        """
        fields = list(fields)
        while True:
            if not self.is_usable:
                reason = str(self._driver.lost or self._driver.connection.ending.farewell)
                raise Http2ConnectionLostError(reason, unprocessed=True)
            try:
                return self._driver.connection.open_stream(fields, end_stream=end_stream)
            except h2.exceptions.TooManyStreamsError:
                await self._slot_free.park()
            except h2.exceptions.NoAvailableStreamIDError:
                self._driver.drain()

    def drain(self) -> None:
        """End when the open streams are done."""
        self._driver.drain()

    def close(self) -> None:
        """End at once."""
        self._driver.close()

    def _stream_ended(self, _stream: Http2Stream) -> None:
        self._slot_free.unpark_all()
