# SPDX-License-Identifier: Apache-2.0
"""One channel of a mux session as a Trio stream.

Two objects share a channel. The session writes into the ``ChannelInbox``, always without waiting, so that a
channel that nobody reads cannot hold up the others (threat B3): what an inbox holds is bounded by the credit
that was granted. The application has the ``MuxChannel``, which reads the inbox, and sends through the
protocol core; it knows the session by two callables: the core has something to send, and this channel is
over.
"""

from collections.abc import Callable

import attrs
import trio

from mezite.core.mux.chunk_queue import ChunkQueue
from mezite.core.mux.connection import ChannelHeader, MuxConnection
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.byte_streams import receive_limit
from mezite.net.conflict_detector import ConflictDetector

__all__ = ["ChannelInbox", "ChannelResetError", "ChannelStatistics", "MuxChannel"]

# What one receive hands out: a relay's portion.
RECEIVE_CHUNK_BYTES = 512 * 1024


class ChannelResetError(trio.BrokenResourceError):
    """The peer reset the channel: ``code`` and ``text`` say why."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"channel reset by the peer: {text or code.name}")
        self.code = code
        self.text = text


@attrs.frozen(kw_only=True)
class ChannelStatistics:
    """Bytes of one channel so far."""

    received: int
    """Handed to the application."""
    sent: int
    """Taken from the application."""
    unread: int


@attrs.define(eq=False)
class ChannelInbox:
    """What the session has told about one channel; every method returns at once."""

    data: ChunkQueue = attrs.field(factory=ChunkQueue)
    ended: bool = False
    """The peer's data ends after ``data``."""
    broken: Exception | None = None
    """Nothing can be sent any more, and unless ``ended`` nothing follows ``data``."""
    full: bool = False
    """The output queue took less than all and has no room again yet."""
    closed_at: float | None = None
    """When the application closed the channel (``trio.current_time()``)."""
    readable: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)
    writable: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def receive(self, data: bytes) -> None:
        """Data came."""
        self.data.append(data)
        self.readable.unpark()

    def end(self) -> None:
        """The peer's EOF came."""
        self.ended = True
        self.readable.unpark()

    def make_room(self) -> None:
        """The output queue has room again."""
        self.full = False
        self.writable.unpark()

    def break_(self, error: Exception, *, keep_data: bool) -> None:
        """The channel or the whole connection is gone."""
        if self.broken is None:
            self.broken = error
        if not keep_data:
            self.data.clear()
        self.wake()

    def wake(self) -> None:
        """Let waiting tasks look again."""
        self.readable.unpark_all()
        self.writable.unpark_all()


class MuxChannel(trio.abc.HalfCloseableStream):
    """One channel, both directions; made by ``MuxSession.open_channel`` and ``PendingChannel.accept``.

    Beyond the contract of ``trio.abc``: a ``send_all`` that is cancelled after a part was taken resets the
    channel, so that the peer cannot take the part for the whole (threat B2). ``aclose`` does not wait: what
    was sent still goes out, for at most a minute if the peer does not read. A peer that resets makes both
    directions raise ChannelResetError; when the connection is lost the session's TunnelClosedError is the
    cause of the BrokenResourceError.
    """

    def __init__(
        self,
        core: MuxConnection,
        channel_id: int,
        header: ChannelHeader,
        *,
        inbox: ChannelInbox,
        output_ready: Callable[[], object],
        released: Callable[[int], None],
    ) -> None:
        self._core = core
        self._channel_id = channel_id
        self._header = header
        self._inbox = inbox
        self._output_ready = output_ready
        self._released = released
        self._closed = False
        self._eof_sent = False
        self._received = 0
        self._sent = 0
        self._sending = ConflictDetector("another task is sending on this channel")
        self._receiving = ConflictDetector("another task is receiving on this channel")

    @property
    def channel_id(self) -> int:
        """The id on the wire, for logs."""
        return self._channel_id

    @property
    def header(self) -> ChannelHeader:
        """What the opener said."""
        return self._header

    @property
    def is_readable(self) -> bool:
        """Whether receiving would not wait: data, the peer's end or a failure is here."""
        inbox = self._inbox
        return self._closed or bool(len(inbox.data)) or inbox.ended or inbox.broken is not None

    def statistics(self) -> ChannelStatistics:
        """Counters of this moment."""
        return ChannelStatistics(received=self._received, sent=self._sent, unread=len(self._inbox.data))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As ``trio.abc.ReceiveStream``; without ``max_bytes`` up to 512 KiB. Cancelling loses nothing."""
        limit = receive_limit(max_bytes, RECEIVE_CHUNK_BYTES)
        with self._receiving:
            inbox = self._inbox
            if self.is_readable:
                await trio.lowlevel.checkpoint()
            while not self._closed:
                if len(inbox.data):
                    data = inbox.data.take(limit)
                    self._received += len(data)
                    self._core.consume(self._channel_id, len(data))
                    if self._core.has_data_to_send:
                        self._output_ready()
                    return data
                if inbox.ended:
                    return b""
                self._check_unbroken()
                await inbox.readable.park()
            raise trio.ClosedResourceError("this channel was closed here")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As ``trio.abc.SendStream``. ``data`` has been queued, not delivered, when this returns."""
        if not await self.send_promptly(data):
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_promptly(self, data: bytes | bytearray | memoryview) -> bool:
        """As ``send_all``, but a checkpoint only when there is no room; returns whether there was one."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint_if_cancelled()
            rest = memoryview(data if type(data) is bytes else bytes(data))
            rest = rest[self._send_some(rest) :]
            if not rest:
                return False
            try:
                while rest:
                    await self._wait_for_room()
                    rest = rest[self._send_some(rest) :]
            except trio.Cancelled:
                if len(rest) < len(data):
                    self.reset(ErrorCode.CANCELLED, "a send was cancelled half-way")
                raise
            return True

    async def wait_send_all_might_not_block(self) -> None:
        """As ``trio.abc.SendStream``."""
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint()
            await self._wait_for_room()

    async def send_eof(self) -> None:
        """As ``trio.abc.HalfCloseableStream``.

        Does nothing on a channel that the peer closed after its own EOF.
        """
        with self._sending:
            if self._closed:
                raise trio.ClosedResourceError("this channel was closed here")
            await trio.lowlevel.checkpoint_if_cancelled()
            inbox = self._inbox
            if not (inbox.ended and isinstance(inbox.broken, ChannelResetError)):
                self._check_unbroken()
                if not self._eof_sent:
                    self._core.send_eof(self._channel_id)
                    self._output_ready()
            self._eof_sent = True
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """End both directions after what was sent; unread data is dropped. Closes also when cancelled."""
        if not self._closed:
            self._shut()
            self._inbox.closed_at = trio.current_time()
            self._core.close_channel(self._channel_id)
            self._output_ready()
        await trio.lowlevel.checkpoint()

    def reset(self, code: ErrorCode, text: str) -> None:
        """End both directions at once and tell the peer why; what was queued and not sent is dropped."""
        self._shut()
        self._core.reset_channel(self._channel_id, code, text)
        self._released(self._channel_id)
        self._output_ready()

    def cut(self, code: ErrorCode, text: str) -> None:
        """Reset the channel on behalf of a third: the peer and whoever uses this end both learn why, as of a reset."""
        if not self._closed and self._inbox.broken is None:
            self._inbox.break_(ChannelResetError(code, text), keep_data=False)
            self._core.reset_channel(self._channel_id, code, text)
            self._released(self._channel_id)
            self._output_ready()

    def _shut(self) -> None:
        self._closed = True
        self._inbox.data.clear()
        self._inbox.wake()

    def _send_some(self, data: memoryview) -> int:
        """Queue what there is room for."""
        taken = self._core.send_data(self._channel_id, data)
        if taken < len(data):
            self._inbox.full = True
        if taken:
            self._sent += taken
            self._output_ready()
        return taken

    async def _wait_for_room(self) -> None:
        while self._inbox.full:
            await self._inbox.writable.park()
            self._check_sendable()

    def _check_sendable(self) -> None:
        if self._closed or self._eof_sent:
            raise trio.ClosedResourceError("this channel was closed here for sending")
        self._check_unbroken()

    def _check_unbroken(self) -> None:
        broken = self._inbox.broken
        if isinstance(broken, ChannelResetError):
            raise ChannelResetError(broken.code, broken.text)
        if broken is not None:
            raise trio.BrokenResourceError(str(broken)) from broken
