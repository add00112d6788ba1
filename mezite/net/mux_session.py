# SPDX-License-Identifier: Apache-2.0
"""The Trio driver of one mux connection.

Three tasks, all of them in ``run``'s nursery. The reader takes bytes off the stream and hands events on; it
never waits for anything but the stream, so no channel can hold up another (threat B3). The writer is the only
one that sends: it asks the core for the next batch when the last one is out, so that what is most urgent then
goes first. A batch that was cut short leaves the peer with half a frame, so cancelling ``run`` while the
writer sends, like any error of the stream, is the end of the connection (threat P1). The third task sends
PINGs and watches the clock.

None of the tasks raises for what the peer or the network does: the first one that comes to an end records why
and cancels the others, and ``run`` raises that one reason, not a group (threat P4).
"""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import attrs
import trio

from mezite.core.mux.channel_table import TooManyChannelsError
from mezite.core.mux.chunk_queue import Chunk
from mezite.core.mux.connection import ChannelHeader, MuxConnection, MuxLimits, MuxStatistics, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import GoAwayReceived
from mezite.core.mux.flow_window import GrowthPool
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_liveness import Keepalive, Liveness
from mezite.net.mux_switchboard import (
    ChannelRejectedError,
    PendingChannel,
    Switchboard,
    TunnelClosedError,
)
from mezite.net.shared_buffer import SharedBuffer
from mezite.net.tls_stream import TLS_CHUNK_BYTES, TlsStream

__all__ = [
    "ChannelRejectedError",
    "Keepalive",
    "MuxSession",
    "MuxSessionStatistics",
    "PendingChannel",
    "TunnelClosedError",
]

logger = logging.getLogger("mezite.net.mux")

RECEIVE_BYTES: Final = TLS_CHUNK_BYTES
SEND_BYTES: Final = TLS_CHUNK_BYTES
"""One portion of a TLS stream: two full DATA frames with their headers."""
SENDS_IN_A_ROW: Final = 2
"""Portions before other tasks have a turn, when the stream takes them at once: a portion takes under a
millisecond.
"""
CLOSE_SECONDS: Final = 2.0
"""For the last GOAWAY and the stream's own farewell; a peer that does not read them misses nothing it can
use.
"""
LINGER_SECONDS: Final = 60.0
"""For what was sent on a channel before it was closed, when the peer gives no credit for it."""
PINGS_UNDER_WAY: Final = 6
"""A slow line with full buffers answers late; more than these tell nothing new, and the core allows eight."""
DEFAULT_LIMITS: Final = MuxLimits()
DEFAULT_KEEPALIVE: Final = Keepalive()

_plaintext = SharedBuffer("mux_plaintext", RECEIVE_BYTES)


@attrs.frozen(kw_only=True)
class MuxSessionStatistics:
    """A moment's numbers of one session."""

    mux: MuxStatistics
    bytes_received: int
    bytes_sent: int
    round_trip: float | None
    """Seconds; None before the first."""
    last_round_trip_at: float | None
    """``trio.current_time()`` of the last PONG to a keepalive PING."""


class MuxSession:
    """Many channels over ``stream``, which it owns once ``run`` has been called.

    Use it as ``await nursery.start(session.run)``; open and accept channels while it runs. ``pool`` may be
    shared among sessions to bound what the windows of all of them may grow.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        side: Side,
        *,
        limits: MuxLimits = DEFAULT_LIMITS,
        keepalive: Keepalive = DEFAULT_KEEPALIVE,
        pool: GrowthPool | None = None,
    ) -> None:
        self._stream = stream
        self._keepalive = keepalive
        self._core = MuxConnection(side, limits, pool=pool)
        self._liveness = Liveness(trio.current_time())
        self._output = trio.lowlevel.ParkingLot()
        self._wake_writer = self._output.unpark_all
        self._switchboard = Switchboard(self._core, self._liveness, self._wake_writer)
        self._scope = trio.CancelScope()
        self._draining = False
        self._over = False
        self._reason: TunnelClosedError | None = None
        self._cut_off: TunnelClosedError | None = None
        self._ended = trio.Event()
        self._bytes_received = 0
        self._bytes_sent = 0

    # What a user of the session sees

    @property
    def round_trip(self) -> float | None:
        """Seconds of the newest measured round trip, None before the first."""
        return self._liveness.round_trip

    @property
    def goaway_received(self) -> GoAwayReceived | None:
        """The peer's GOAWAY, once it came: it accepts no more channels, and may name a time to stay away."""
        return self._switchboard.goaway

    def statistics(self) -> MuxSessionStatistics:
        """Counters of this moment."""
        return MuxSessionStatistics(
            mux=self._core.statistics(),
            bytes_received=self._bytes_received,
            bytes_sent=self._bytes_sent,
            round_trip=self._liveness.round_trip,
            last_round_trip_at=self._liveness.last_round_trip_at,
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Drive the connection until it ends, and leave the stream closed.

        ``started`` when the peer has shown that it speaks the protocol. Returns when it ended in peace: after
        a GOAWAY of either side, with no channel left. Raises TunnelClosedError for every other end, whose
        ``code`` is the peer's reason or ours. Cancelling closes the stream at once.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._receive)
                    nursery.start_soon(self._send)
                    nursery.start_soon(self._watch)
                    await self._switchboard.ready.wait()
                    task_status.started()
            if not self._over:
                self._end(self._cut_off)
            if self._reason is None and not self._switchboard.ready.is_set():
                self._reason = TunnelClosedError("the peer went away before it said anything")
        finally:
            self._core.receive_eof()
            self._switchboard.route_events()
            reason = self._reason or TunnelClosedError("the session was closed", ErrorCode.NO_ERROR)
            self._switchboard.lose(reason)
            self._ended.set()
            await close_stream(self._stream, politely=self._over and self._reason is None)
        if self._reason is not None:
            logger.info("tunnel connection ended: %s", reason)
            raise self._reason

    async def wait_closed(self) -> None:
        """Until the connection has ended, for whatever reason."""
        await self._ended.wait()

    async def wait_round_trip(self) -> float:
        """Until a first round trip has been measured, which proves that the peer reads and answers; its seconds.

        Raises TunnelClosedError when the connection ends before that.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_ended, nursery.cancel_scope)
            await self._liveness.proven.wait()
            nursery.cancel_scope.cancel()
        if self._liveness.round_trip is None:
            raise self._reason or TunnelClosedError("the connection ended before a round trip")
        return self._liveness.round_trip

    async def _cancel_when_ended(self, scope: trio.CancelScope) -> None:
        await self._ended.wait()
        scope.cancel()

    async def wait_goaway(self) -> None:
        """Until the peer said GOAWAY or the connection has ended."""
        await self._switchboard.goaway_arrived.wait()

    async def open_channel(self, header: ChannelHeader, *, deadline_seconds: float = 15) -> MuxChannel:
        """Open a channel and wait until the peer accepts it.

        Raises ChannelRejectedError when the peer refuses, is going away, does not answer within
        ``deadline_seconds`` (code DEADLINE) or has too many channels from us; TunnelClosedError when there is
        no connection; LocalProtocolError for a header that cannot be sent. Cancelling withdraws the channel.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        channel_id = self._open(header)
        opening = self._switchboard.expect(channel_id, header)
        self._wake_writer()
        code, text = ErrorCode.CANCELLED, "the opener gave up"
        try:
            with trio.move_on_after(deadline_seconds) as deadline:
                await opening.answered.wait()
            if deadline.cancelled_caught:
                code, text = ErrorCode.DEADLINE, f"no answer within {deadline_seconds:g} s"
                raise ChannelRejectedError(code, text)
        except BaseException:
            self._switchboard.give_up(channel_id, code, text)
            raise
        if isinstance(opening.result, MuxChannel):
            return opening.result
        assert opening.result is not None
        raise opening.result

    async def accept_channel(self) -> PendingChannel:
        """The next channel that the peer offers. Raises TunnelClosedError at the end. Cancelling loses
        nothing.
        """
        return await self._switchboard.next_offer()

    def send_goaway(
        self, *, retry_after: float = 0, code: ErrorCode = ErrorCode.DRAINING, text: str = ""
    ) -> None:
        """Tell the peer that no more channels are accepted; everything else goes on.

        ``retry_after`` (seconds) asks it to stay away so long; 0 asks nothing. Does nothing at the end.
        """
        if self._switchboard.lost is None and self._switchboard.closed is None:
            self._core.send_goaway(int(retry_after * 1000), code, text)
            self._wake_writer()

    async def drain(
        self, *, retry_after: float = 0, code: ErrorCode = ErrorCode.DRAINING, text: str = ""
    ) -> None:
        """Say GOAWAY, wait until every channel has ended by itself, then end the connection in peace.

        There is no deadline: put one around it, and cancel ``run`` when it has passed. Cancelling leaves the
        connection to end when the channels do. Returns at once when it has ended.
        """
        await trio.lowlevel.checkpoint()
        self.send_goaway(retry_after=retry_after, code=code, text=text)
        self._draining = True
        self._wake_writer()
        await self._ended.wait()

    # The tasks

    async def _receive(self) -> None:
        switchboard = self._switchboard
        lost = ""
        receive = receiver_of(self._stream)
        while switchboard.closed is None:
            try:
                data = await receive()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                data, lost = b"", f": {error}"
            if data:
                self._liveness.last_received = trio.current_time()
                self._bytes_received += len(data)
                self._core.receive_data(data)
            else:
                self._core.receive_eof()
            switchboard.route_events()
            if self._core.has_data_to_send or self._draining or switchboard.closed:
                self._wake_writer()
        self._end_of_core(lost)

    async def _send(self) -> None:
        core, switchboard = self._core, self._switchboard
        send = sender_of(self._stream)
        in_a_row = 0
        try:
            while True:
                parts = core.parts_to_send(SEND_BYTES)
                switchboard.route_events()
                if parts:
                    in_a_row = 0 if await send(parts) else in_a_row + 1
                    self._bytes_sent += sum(map(len, parts))
                    if in_a_row == SENDS_IN_A_ROW:
                        await trio.lowlevel.checkpoint()
                        in_a_row = 0
                elif switchboard.closed is not None or (self._draining and not switchboard.busy):
                    break
                else:
                    await self._output.park()
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            # Why the peer closed may have arrived and wait to be read: the reader gets a moment to find it.
            self._cut_off = TunnelClosedError(f"connection lost: {error}")
            self._end_within(CLOSE_SECONDS if switchboard.closed is None else 0)
            return
        if switchboard.closed is None:
            self._end(None)
        else:
            self._end_of_core("")
        self._end_within(0)

    async def _watch(self) -> None:
        liveness, keepalive = self._liveness, self._keepalive
        while True:
            now = trio.current_time()
            death = liveness.death(keepalive, now)
            if death is not None:
                self._end(TunnelClosedError(death))
                return
            if liveness.under_way < PINGS_UNDER_WAY and self._switchboard.closed is None:
                liveness.ping_sent(self._core.send_ping(), now)
                self._wake_writer()
            self._switchboard.reset_lingering(now - LINGER_SECONDS)
            await trio.sleep_until(min(now + keepalive.interval, liveness.last_received + keepalive.timeout))

    # Inside

    def _open(self, header: ChannelHeader) -> int:
        switchboard = self._switchboard
        if switchboard.lost is not None:
            raise TunnelClosedError(switchboard.lost.reason, switchboard.lost.code)
        if switchboard.closed is not None:
            raise TunnelClosedError(str(switchboard.closed.error))
        if switchboard.goaway is not None:
            text = switchboard.goaway.text or "the peer is going away"
            raise ChannelRejectedError(ErrorCode.DRAINING, text)
        try:
            return self._core.open_channel(header)
        except TooManyChannelsError as error:
            raise ChannelRejectedError(ErrorCode.TOO_MANY_CHANNELS, str(error)) from None

    def _end_of_core(self, detail: str) -> None:
        """The protocol has come to its end: the writer has a moment for the last GOAWAY."""
        closed = self._switchboard.closed
        assert closed is not None
        error = closed.error
        reason = None
        if error is not None:
            reason = TunnelClosedError(f"{error}{detail}", ErrorCode.from_wire(error.code))
        self._end(reason, within=0 if self._cut_off else CLOSE_SECONDS)

    def _end(self, reason: TunnelClosedError | None, *, within: float = 0) -> None:
        """The connection is over, in peace without ``reason``; the first one counts."""
        if not self._over:
            self._over = True
            self._reason = reason
        self._end_within(within)

    def _end_within(self, seconds: float) -> None:
        self._scope.deadline = min(self._scope.deadline, trio.current_time() + seconds)


async def close_stream(stream: trio.abc.Stream, *, politely: bool) -> None:
    """Close for certain; ``politely`` gives the stream's own farewell a moment, where the peer expects one."""
    # Shielded also where it does not wait: a cancel raised here would replace an exception on its way out.
    with trio.CancelScope(shield=True):
        if politely:
            with trio.move_on_after(CLOSE_SECONDS):
                await stream.aclose()
        await trio.aclose_forcefully(stream)


def receiver_of(stream: trio.abc.Stream) -> Callable[[], Awaitable[bytes | bytearray | memoryview]]:
    """What a reader calls for more. It must be done with what it got before the next call."""
    if not isinstance(stream, TlsStream):
        return partial(stream.receive_some, RECEIVE_BYTES)
    receive_into = stream.receive_into

    async def receive() -> memoryview:
        buffer = _plaintext.take()
        return memoryview(buffer)[: await receive_into(buffer)]

    return receive


def sender_of(stream: trio.abc.Stream) -> Callable[[list[Chunk]], Awaitable[bool]]:
    """What a writer calls to send all; the result says whether other tasks had a turn meanwhile."""
    if isinstance(stream, TlsStream):
        return stream.send_parts

    async def send(parts: list[Chunk]) -> bool:
        await stream.send_all(b"".join(parts))
        return True

    return send
