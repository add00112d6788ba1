# SPDX-License-Identifier: Apache-2.0
"""What each frame that arrives does: one small method per frame type."""

from collections.abc import Callable

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.channel import Channel
from mezite.core.mux.channel_state import ANSWER_RESET, ChannelInput, ChannelState
from mezite.core.mux.channel_table import ChannelTable
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import (
    ChannelAccepted,
    ChannelClosed,
    ChannelOpened,
    ChannelRejected,
    ChannelReset,
    ConnectionReady,
    DataReceived,
    EofReceived,
    Event,
    GoAwayReceived,
    PongReceived,
)
from mezite.core.mux.frames import (
    FrameType,
    decode_goaway,
    decode_reason,
    encode_frame,
    encode_reason,
)
from mezite.core.mux.header import decode_header
from mezite.core.mux.limits import LARGEST_CREDIT, MuxLimits
from mezite.core.mux.receive_credit import ReceiveCredit
from mezite.core.mux.send_scheduler import SendScheduler
from mezite.core.mux.settings import decode_settings

__all__ = ["FrameReceiver"]


class FrameReceiver:
    """Applies received frames to the table, the credit and the output.

    ``receive`` returns what to tell the application; further events of the same frame are appended by
    ``also``.
    """

    def __init__(
        self,
        limits: MuxLimits,
        *,
        table: ChannelTable,
        credit: ReceiveCredit,
        sender: SendScheduler,
        also: Callable[[Event], None],
    ) -> None:
        self._limits = limits
        self._table = table
        self._credit = credit
        self._sender = sender
        self._also = also
        self.ready = False
        """The peer's SETTINGS came."""
        self.goaway: GoAwayReceived | None = None
        """The peer's last GOAWAY."""
        self.draining = False
        """We said GOAWAY: no more channels from the peer."""
        self._handlers: dict[int, Callable[[int, bytes], Event | None]] = {
            FrameType.OPEN: self._open,
            FrameType.ACCEPT: self._accept,
            FrameType.REJECT: self._reject,
            FrameType.DATA: self._data,
            FrameType.EOF: self._eof,
            FrameType.RESET: self._reset,
            FrameType.WINDOW: self._window,
            FrameType.PING: self._ping,
            FrameType.PONG: self._pong,
            FrameType.SETTINGS: self._settings,
            FrameType.GOAWAY: self._goaway,
        }

    def receive(self, kind: int, channel_id: int, payload: bytes) -> Event | None:
        """Apply one frame, whose type and length have been checked.

        Raises RemoteProtocolError with the code to close with.
        """
        if not self.ready and kind not in (FrameType.SETTINGS, FrameType.GOAWAY):
            raise RemoteProtocolError("the first frame is not SETTINGS", ErrorCode.PROTOCOL_ERROR)
        if channel_id and kind >= FrameType.PING:
            raise RemoteProtocolError("frame of the connection on a channel", ErrorCode.FRAME_ERROR)
        return self._handlers[kind](channel_id, payload)

    def _data(self, channel_id: int, payload: bytes) -> Event | None:
        channel = self._table.get(channel_id)
        if channel is not None and channel.state is ChannelState.OPEN:
            self._credit.receive(channel, len(payload))
        else:
            channel = self._known(self._table.received(channel_id, ChannelInput.RECEIVE_DATA))
            self._credit.receive(channel, len(payload))
            if channel.state is not ChannelState.SEND_CLOSED:
                self._credit.consume(channel, len(payload))
                return None
        if channel.abandoned:
            self._credit.consume(channel, len(payload))
            return None
        return DataReceived(channel_id, payload)

    def _open(self, channel_id: int, payload: bytes) -> Event | None:
        table, limits = self._table, self._limits
        table.claim_id(channel_id)
        header = decode_header(payload)
        if self.draining:
            refusal = (ErrorCode.DRAINING, "going away")
        elif table.open_theirs >= limits.max_channels:
            refusal = (ErrorCode.TOO_MANY_CHANNELS, f"{limits.max_channels} channels are open")
        elif table.offered >= limits.accept_backlog:
            refusal = (ErrorCode.BACKLOG_FULL, f"{limits.accept_backlog} channels wait for an answer")
        else:
            table.offer(channel_id, header)
            return ChannelOpened(channel_id, header)
        self._sender.push(encode_reason(FrameType.REJECT, channel_id, *refusal))
        return None

    def _accept(self, channel_id: int, _payload: bytes) -> Event | None:
        channel = self._known(self._table.received(channel_id, ChannelInput.RECEIVE_ACCEPT))
        return ChannelAccepted(channel_id) if channel.state is ChannelState.OPEN else None

    def _reject(self, channel_id: int, payload: bytes) -> Event | None:
        code, text = decode_reason(payload)
        withdrawn = self._is_aborted(channel_id)
        self._known(self._table.received(channel_id, ChannelInput.RECEIVE_REJECT))
        return None if withdrawn else ChannelRejected(channel_id=channel_id, code=code, text=text)

    def _eof(self, channel_id: int, _payload: bytes) -> Event | None:
        was_aborted = self._is_aborted(channel_id)
        channel = self._known(self._table.received(channel_id, ChannelInput.RECEIVE_EOF))
        if was_aborted:
            return None
        self._credit.release(channel)
        if channel.abandoned:
            return None
        if channel.state is ChannelState.CLOSED:
            self._also(ChannelClosed(channel_id))
        return EofReceived(channel_id)

    def _reset(self, channel_id: int, payload: bytes) -> Event | None:
        code, text = decode_reason(payload)
        channel = self._table.get(channel_id)
        before = channel.state if channel else ChannelState.CLOSED
        self._table.received(channel_id, ChannelInput.RECEIVE_RESET)
        if channel is None or before not in ANSWER_RESET:
            return None
        self._sender.discard(channel)
        self._sender.push(encode_reason(FrameType.RESET, channel_id, ErrorCode.NO_ERROR, ""))
        after_eof = before is ChannelState.RECEIVE_CLOSED
        if not after_eof:
            self._credit.abandon(channel)
            self._credit.release(channel)
            self._table.forget_if_done(channel)
        if channel.closing:
            return ChannelClosed(channel_id)
        return ChannelReset(channel_id=channel_id, code=code, text=text, after_eof=after_eof)

    def _window(self, channel_id: int, payload: bytes) -> Event | None:
        credit = int.from_bytes(payload)
        if not 0 < credit <= LARGEST_CREDIT:
            raise RemoteProtocolError("WINDOW of nothing or too much", ErrorCode.FRAME_ERROR)
        if channel_id == 0:
            self._check_credit(self._sender.credit + credit)
            self._sender.add_credit(credit)
            return None
        channel = self._table.received(channel_id, ChannelInput.RECEIVE_WINDOW)
        if channel is not None:
            self._check_credit(channel.send_credit + credit)
            channel.send_credit += credit
            self._sender.schedule(channel)
        return None

    def _ping(self, _channel_id: int, payload: bytes) -> Event | None:
        self._sender.push(encode_frame(FrameType.PONG, 0, payload))
        return None

    def _pong(self, _channel_id: int, payload: bytes) -> Event | None:
        token = int.from_bytes(payload)
        self._credit.trips.pong(token)
        return PongReceived(token)

    def _settings(self, _channel_id: int, payload: bytes) -> Event | None:
        if self.ready:
            raise RemoteProtocolError("SETTINGS twice", ErrorCode.PROTOCOL_ERROR)
        settings = decode_settings(payload)
        self.ready = True
        self._table.allow(settings.max_channels, settings.channel_window)
        self._sender.start(min(settings.max_frame, self._limits.max_frame), settings.connection_window)
        return ConnectionReady(settings.version)

    def _goaway(self, _channel_id: int, payload: bytes) -> Event | None:
        last_channel, retry_after_ms, code, text = decode_goaway(payload)
        self.goaway = GoAwayReceived(
            last_channel=last_channel, retry_after_ms=retry_after_ms, code=code, text=text
        )
        return self.goaway

    def _is_aborted(self, channel_id: int) -> bool:
        channel = self._table.get(channel_id)
        return channel is not None and channel.state in (ChannelState.ABORTED, ChannelState.ABORTED_AFTER_EOF)

    @staticmethod
    def _known(channel: Channel | None) -> Channel:
        """The channel of a frame that is never a legal leftover."""
        assert channel is not None
        return channel

    @staticmethod
    def _check_credit(total: int) -> None:
        if total > LARGEST_CREDIT:
            raise RemoteProtocolError("credit overflow", ErrorCode.FLOW_CONTROL)
