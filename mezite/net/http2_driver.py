# SPDX-License-Identifier: Apache-2.0
"""The tasks round one HTTP/2 connection: a reader, the only writer, and a clock.

The writer is the task that decides the connection's life: when it returns, the others are cancelled. Nobody
else writes, so a cancelled caller never leaves half a frame on the wire (threat P1).
"""

from __future__ import annotations

import contextlib
import logging

import h2.errors
import h2.exceptions
import trio

from mezite.core.h2c import UpgradeRequest
from mezite.net.byte_streams import discard_unsent
from mezite.net.direct_socket import PromptPath
from mezite.net.http2_connection import ConnectionHooks, Http2Connection
from mezite.net.http2_ending import EndingState
from mezite.net.http2_limits import Http2FloodError, Http2GateError, Http2Limits
from mezite.net.http2_stream import Http2ConnectionLostError, Http2Error, Http2Stream, WakeSignal
from mezite.net.shared_buffer import SharedBuffer

__all__ = ["Http2Driver"]

logger = logging.getLogger("mezite.net.http2")

SMALL_OUTPUT = 16 * 1024
"""Behind more than this the writer lets others have a turn."""
READ_BYTES = 64 * 1024
_RECEIVED = SharedBuffer("mezite http2 receive", READ_BYTES)


class Http2Driver:
    """Runs one connection on any Trio stream, and owns the stream."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        limits: Http2Limits,
        hooks: ConnectionHooks,
        *,
        client_side: bool,
        upgrade: UpgradeRequest | None = None,
    ) -> None:
        self._stream = stream
        self._path = PromptPath(stream)
        self._client_side = client_side
        self._limits = limits
        self._writable = WakeSignal()
        self._drained = WakeSignal()
        self._read_ended = trio.Event()
        self._closing = False
        self._on_stream_end = hooks.stream_end
        hooks = ConnectionHooks(
            output=self._writable.set, request=hooks.request, stream_end=self._stream_ended
        )
        self.connection = Http2Connection(limits, hooks, client_side=client_side, upgrade=upgrade)
        self.lost: Http2Error | None = None
        """Why the connection ended; None while it lives."""
        self._started_at = trio.current_time()
        self._busy_at = self._started_at
        self._patience = limits.idle if client_side else min(limits.first_request, limits.idle)

    async def run(self) -> None:
        """Drive the connection until it has ended; closes the stream. ``lost`` says why it ended.

        Never raises for what the peer or the network did. Cancelling cuts the connection.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._watch)
                nursery.start_soon(self._finish_ending)
                if self._limits.keepalive_interval is not None:
                    nursery.start_soon(self._keep_alive, self._limits.keepalive_interval)
                await self._write()
                await self._linger()
                nursery.cancel_scope.cancel()
        finally:
            self._fail(Http2ConnectionLostError("the connection was closed"))
            with trio.move_on_after(self._limits.closing), contextlib.suppress(trio.BrokenResourceError):
                await self._stream.aclose()

    def drain(self) -> None:
        """End gracefully: open streams finish, no new ones."""
        self.connection.ending.begin()

    def close(self) -> None:
        """End at once, with a GOAWAY."""
        self._fail(Http2ConnectionLostError("the connection was closed"), h2.errors.ErrorCodes.NO_ERROR)

    def _stream_ended(self, stream: Http2Stream) -> None:
        self._busy_at = trio.current_time()
        self._patience = self._limits.idle
        self._on_stream_end(stream)
        self._writable.set()

    def _fail(self, failure: Http2Error, error_code: h2.errors.ErrorCodes | None = None) -> None:
        self._closing = True
        if self.lost is None:
            self.lost = failure
            self.connection.fail(failure, error_code)

    # -- tasks -----------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            output = self.connection.take_output()
            control = self.connection.control_backlog
            if output:
                if not await self._send(output):
                    return
                self.connection.control_backlog -= control
                self._drained.set()
            elif self._closing or self._is_finished():
                return
            else:
                await self._writable.wait()

    async def _linger(self) -> None:
        # Closing a socket while data is on its way to it resets the connection, and the reset may overtake
        # the GOAWAY. The client of a server that ends gracefully closes by itself; it gets a moment to do so.
        if not self._client_side and self._is_finished() and not self._closing:
            with trio.move_on_after(self._limits.closing):
                await self._read_ended.wait()

    def _stall_limit(self) -> float:
        return self._limits.closing if self._closing else self._limits.write_stall

    async def _send(self, output: bytearray) -> bool:
        """Whether all was sent. A small answer that the kernel takes at once costs no deadline and no turn."""
        try:
            sent = self._path.send_at_once(output)
            if sent == len(output) < SMALL_OUTPUT:
                return True
            with trio.move_on_after(self._stall_limit()) as scope:
                if sent < len(output):
                    await self._stream.send_all(output[sent:])
                else:
                    await trio.lowlevel.checkpoint()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self._fail(Http2ConnectionLostError(f"the connection broke: {error}"))
            return False
        if scope.cancelled_caught:
            discard_unsent(self._stream)
            self._fail(Http2ConnectionLostError("the peer does not read"))
        return not scope.cancelled_caught

    def _is_finished(self) -> bool:
        return self.connection.ending.state is EndingState.FINAL and not self.connection.streams

    async def _read(self) -> None:
        while not self._closing:
            try:
                data = await self._path.receive(_RECEIVED)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                self._fail(Http2ConnectionLostError(f"the connection broke: {error}"))
                break
            if not data:
                self._fail(Http2ConnectionLostError("the peer closed the connection"))
                break
            self._take(bytes(data))
            # Replies pile up when a peer asks and does not read: then we do not read either.
            while self.connection.control_backlog > self._limits.max_control_backlog and not self._closing:
                await self._drained.wait()
        self._read_ended.set()

    def _take(self, data: bytes) -> None:
        try:
            self.connection.receive_data(data, trio.current_time())
        except Http2GateError as error:
            level = logging.WARNING if isinstance(error, Http2FloodError) else logging.INFO
            logger.log(level, "http2 %s: %s", error.error_code.name, error)
            self._fail(Http2ConnectionLostError(str(error)), error.error_code)
        except h2.exceptions.ProtocolError as error:
            logger.info("http2 protocol error: %s", error)
            self._fail(Http2ConnectionLostError(f"protocol error: {error}"))

    async def _watch(self) -> None:
        """Deadlines of the connection as a whole."""
        await trio.sleep(self._limits.handshake)
        if not self.connection.settings_received:
            self._fail(Http2ConnectionLostError("no SETTINGS came"), h2.errors.ErrorCodes.SETTINGS_TIMEOUT)
            return
        expires = self._expires_at()
        while trio.current_time() < expires:
            await trio.sleep_until(expires)
            expires = self._expires_at()
        self.drain()

    def _expires_at(self) -> float:
        too_old = self._started_at + self._limits.max_age
        idle_since = trio.current_time() if self.connection.streams else self._busy_at
        return min(too_old, idle_since + self._patience)

    async def _finish_ending(self) -> None:
        """A peer that does not answer the PING after GOAWAY does not hold the end up."""
        await self.connection.ending.begun.wait()
        await trio.sleep(self._limits.closing)
        self.connection.ending.finish()

    async def _keep_alive(self, interval: float) -> None:
        while True:
            await trio.sleep(interval)
            before = self.connection.pings.pongs
            self.connection.pings.send()
            await trio.sleep(self._limits.keepalive_timeout)
            if self.connection.pings.pongs == before:
                self._fail(Http2ConnectionLostError("the peer does not answer"))
