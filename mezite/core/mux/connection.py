# SPDX-License-Identifier: Apache-2.0
"""The mux protocol of docs/mux-protocol.md for one side of one connection."""

import enum
from collections import deque
from typing import Final

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.channel_closer import ChannelCloser
from mezite.core.mux.channel_state import ChannelInput
from mezite.core.mux.channel_table import ChannelTable
from mezite.core.mux.chunk_queue import Chunk
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import NEED_DATA, ConnectionClosed, Event, NeedData, SendBufferSpace
from mezite.core.mux.flow_window import GrowthPool
from mezite.core.mux.frame_buffer import FrameBuffer
from mezite.core.mux.frame_receiver import FrameReceiver
from mezite.core.mux.frames import FrameType, encode_frame, encode_goaway, encode_reason
from mezite.core.mux.header import ChannelHeader, encode_header
from mezite.core.mux.limits import MuxLimits
from mezite.core.mux.receive_credit import ReceiveCredit
from mezite.core.mux.send_scheduler import SendScheduler
from mezite.core.mux.settings import encode_settings

__all__ = ["ChannelHeader", "MuxConnection", "MuxLimits", "MuxStatistics", "Side"]

DEFAULT_LIMITS: Final = MuxLimits()
PEACEFUL: Final = frozenset({ErrorCode.NO_ERROR, ErrorCode.DRAINING})


@enum.unique
class Side(enum.Enum):
    """Who dialled the stream. Only the numbering of channels depends on it."""

    DIALER = 1
    ACCEPTER = 2


@attrs.frozen(kw_only=True)
class MuxStatistics:
    """A moment's numbers of one connection; all sizes in bytes."""

    channels_ours: int
    channels_theirs: int
    unconsumed: int
    """Received, not consumed."""
    unsent: int
    """Queued on channels."""
    unsent_replies: int
    """Control frames that wait."""


class MuxConnection:
    """Bytes in, events out; wishes in, bytes out. No I/O, no clock: a driver does the rest.

    The driver's duty: after ``receive_data`` take ``next_event`` until NEED_DATA; after anything at all, send
    what ``data_to_send`` returns until ``has_data_to_send`` is false, then take ``next_event`` once more, for
    sending makes events too. Methods raise LocalProtocolError, changing nothing, when they are not allowed in
    the present state; any exception but that one and ValueError is a bug.

    ``pool`` bounds the growth of windows, by default for this connection alone; a shared one gets everything
    back when ConnectionClosed has been returned.
    """

    def __init__(
        self, side: Side, limits: MuxLimits = DEFAULT_LIMITS, *, pool: GrowthPool | None = None
    ) -> None:
        self._limits = limits
        self._events: deque[Event] = deque()
        self._closed: ConnectionClosed | None = None
        self._eof = False
        self._frames = FrameBuffer(limits.max_frame)
        self._table = ChannelTable(side.value, limits)
        self._sender = SendScheduler(
            limits, space_made=lambda channel: self._events.append(SendBufferSpace(channel.channel_id))
        )
        self._credit = ReceiveCredit(limits, pool or GrowthPool(limits.window_growth), self._sender)
        self._closer = ChannelCloser(
            table=self._table, credit=self._credit, sender=self._sender, tell=self._events.append
        )
        self._receiver = FrameReceiver(
            limits, table=self._table, credit=self._credit, sender=self._sender, also=self._events.append
        )
        self._sender.push_first(encode_settings(limits))

    # Bytes and events

    def receive_data(self, data: bytes | bytearray | memoryview) -> None:
        """Bytes from the peer, cut anywhere. Ignored after the end.

        ``data`` must not change until ``next_event`` has returned NEED_DATA; then nothing holds it any more.
        """
        if self._closed is None:
            self._frames.feed(data)

    def receive_eof(self) -> None:
        """The peer's bytes have ended, or nobody will read them any more."""
        self._eof = True

    def next_event(self) -> Event | NeedData:
        """What happened next: an event, NEED_DATA, or ConnectionClosed again and again."""
        while True:
            if self._events:
                return self._events.popleft()
            if self._closed is not None:
                return self._closed
            try:
                if self._sender.reply_bytes > self._limits.reply_buffer:
                    raise RemoteProtocolError("answers are not being read", ErrorCode.FLOOD)
                frame = self._frames.next_frame()
                event = self._receiver.receive(*frame) if frame else None
            except RemoteProtocolError as error:
                self._finish(error)
                continue
            if event is not None:
                return event
            if frame is None:
                if not self._eof:
                    return NEED_DATA
                self._finish(self._judge_end())

    def data_to_send(self, max_bytes: int) -> bytes:
        """Up to ``max_bytes`` (at least 8 KiB) of what must go out next, in this order.

        ``b""`` when there is nothing. What was returned counts as sent: a driver that cannot send all of it
        must give up the connection (threat P1).
        """
        return self._sender.data_to_send(max_bytes)

    def parts_to_send(self, max_bytes: int) -> list[Chunk]:
        """As ``data_to_send``, in parts: for a transport that can send them without joining them first."""
        return self._sender.parts_to_send(max_bytes)

    @property
    def has_data_to_send(self) -> bool:
        """``data_to_send`` has something to do."""
        return self._sender.has_data

    # Channels

    def open_channel(self, header: ChannelHeader) -> int:
        """Open a channel and return its id; ChannelAccepted or ChannelRejected follows.

        Not allowed after the peer's GOAWAY, beyond the channels that both sides allow, or with a header that
        has no encoding.
        """
        check_alive(self._closed)
        if self._receiver.goaway is not None:
            raise LocalProtocolError("the peer is going away and accepts no more channels")
        payload = encode_header(header)
        channel = self._table.open(header)
        self._sender.push(encode_frame(FrameType.OPEN, channel.channel_id, payload))
        return channel.channel_id

    def accept_channel(self, channel_id: int) -> None:
        """Accept a channel from ChannelOpened: data may flow both ways."""
        self._table.sent(self._table.existing(channel_id), ChannelInput.SEND_ACCEPT)
        self._sender.push(encode_frame(FrameType.ACCEPT, channel_id))

    def reject_channel(self, channel_id: int, code: ErrorCode, text: str) -> None:
        """Refuse a channel from ChannelOpened. ``text`` is for the user there; it is cut to 256 bytes."""
        self._table.sent(self._table.existing(channel_id), ChannelInput.SEND_REJECT)
        self._sender.push(encode_reason(FrameType.REJECT, channel_id, code, text))

    def send_data(self, channel_id: int, data: bytes | memoryview) -> int:
        """Queue ``data`` and return how many bytes were taken, 0 to all.

        Large ``data`` is kept without a copy and must not change. When not all of it was taken,
        SendBufferSpace says when to try again.
        """
        return self._sender.queue_data(self._table.sending(channel_id), data)

    def send_eof(self, channel_id: int) -> None:
        """End our direction, after all that is queued."""
        channel = self._table.sending(channel_id)
        channel.ending = True
        self._sender.schedule(channel)

    def close_channel(self, channel_id: int, code: ErrorCode = ErrorCode.NO_ERROR, text: str = "") -> None:
        """The application is done with an open channel: send what is queued, then EOF.

        Unless the peer has ended too, RESET with ``code`` follows. What still arrives is dropped, and the
        only event that comes is ChannelClosed, when the last byte has gone out or the peer has reset the
        channel. Does nothing on a closed channel.
        """
        self._closer.close(channel_id, code, text)

    def reset_channel(self, channel_id: int, code: ErrorCode, text: str) -> None:
        """End both directions at once, also while opening: what is queued and what is unread is dropped.

        No event of this channel comes any more. Does nothing on a closed channel. An offered one cannot be
        reset: there is ``reject_channel``.
        """
        self._closer.reset(channel_id, code, text)

    def consume(self, channel_id: int, count: int) -> None:
        """The application took ``count`` bytes of DataReceived: the peer may send as much again.

        Does nothing on a channel that was reset or closed by ``close_channel``. Raises LocalProtocolError for
        more than was received.
        """
        channel = self._table.get(channel_id)
        if channel is not None and not channel.abandoned:
            self._credit.consume(channel, count)
            self._table.forget_if_done(channel)

    # The connection

    def send_ping(self) -> int:
        """Ask for a round trip; returns the token that PongReceived will repeat. At most 8 are under way."""
        check_alive(self._closed)
        return self._credit.ping()

    def send_goaway(self, retry_after_ms: int, code: ErrorCode, text: str) -> None:
        """Accept no more channels. Those that exist go on; without any left, the stream may be closed."""
        check_alive(self._closed)
        self._receiver.draining = True
        self._sender.push_first(encode_goaway(self._table.last_theirs, retry_after_ms, code, text))

    def statistics(self) -> MuxStatistics:
        """How much there is of everything that is bounded."""
        return MuxStatistics(
            channels_ours=self._table.open_ours,
            channels_theirs=self._table.open_theirs,
            unconsumed=self._credit.unconsumed,
            unsent=self._sender.queued,
            unsent_replies=self._sender.reply_bytes,
        )

    # Inside

    def _judge_end(self) -> RemoteProtocolError | None:
        """The peer's bytes are over: was it time?"""
        goaway = self._receiver.goaway
        if goaway is not None and goaway.code not in PEACEFUL:
            return RemoteProtocolError(f"closed by the peer: {goaway.text or goaway.code.name}", goaway.code)
        said_goodbye = goaway is not None or self._receiver.draining
        if self._frames.pending or self._table.open_count or not said_goodbye:
            return RemoteProtocolError("connection lost", ErrorCode.CONNECTION_LOST)
        return None

    def _finish(self, error: RemoteProtocolError | None) -> None:
        """The connection is over; tell the peer what it did wrong, if it can still hear it."""
        last_frame = None
        if error is not None and not self._eof:
            last_frame = encode_goaway(self._table.last_theirs, 0, error.code, str(error))
        self._closed = ConnectionClosed(error)
        self._sender.finish(last_frame)
        self._frames = FrameBuffer(self._limits.max_frame)
        for channel in self._table.forget_all():
            self._credit.release(channel)


def check_alive(closed: ConnectionClosed | None) -> None:
    """Raises LocalProtocolError when the connection has ended."""
    if closed is not None:
        raise LocalProtocolError("the connection is closed")
