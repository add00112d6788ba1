# SPDX-License-Identifier: Apache-2.0
"""How a channel ends from our side: after what is queued, or at once."""

from collections.abc import Callable

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.channel import Channel
from mezite.core.mux.channel_state import ChannelInput, ChannelState
from mezite.core.mux.channel_table import ChannelTable
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import ChannelClosed, Event
from mezite.core.mux.frames import FrameType, encode_reason
from mezite.core.mux.receive_credit import ReceiveCredit
from mezite.core.mux.send_scheduler import SendScheduler

__all__ = ["ChannelCloser"]


class ChannelCloser:
    """Resets, closes, and notices when the last queued byte of a direction has gone out."""

    def __init__(
        self,
        *,
        table: ChannelTable,
        credit: ReceiveCredit,
        sender: SendScheduler,
        tell: Callable[[Event], None],
    ) -> None:
        self._table = table
        self._credit = credit
        self._sender = sender
        self._tell = tell
        sender.on_eof_sent(self.eof_sent)

    def close(self, channel_id: int, code: ErrorCode, text: str) -> None:
        """See ``MuxConnection.close_channel``."""
        channel = self._table.get(channel_id)
        if channel is None:
            return
        if channel.state in (ChannelState.OPENING, ChannelState.OFFERED):
            raise LocalProtocolError("a channel that is not open cannot be closed")
        if channel.closing or channel.abandoned:
            return
        channel.closing = (code, text)
        self._abandon(channel)
        if channel.state is ChannelState.SEND_CLOSED:
            self.reset(channel_id, code, text)
            self._tell(ChannelClosed(channel_id))
        elif channel.state is not ChannelState.CLOSED:
            channel.ending = True
            self._sender.schedule(channel)

    def reset(self, channel_id: int, code: ErrorCode, text: str) -> None:
        """See ``MuxConnection.reset_channel``."""
        channel = self._table.get(channel_id)
        if channel is None or channel.state in (ChannelState.ABORTED, ChannelState.ABORTED_AFTER_EOF):
            return
        if channel.state is not ChannelState.CLOSED:
            self._table.sent(channel, ChannelInput.SEND_RESET)
            self._sender.discard(channel)
            self._credit.release(channel)
            self._sender.push(encode_reason(FrameType.RESET, channel_id, code, text))
        self._abandon(channel)

    def eof_sent(self, channel: Channel) -> None:
        """The EOF of ``channel`` has just gone out."""
        self._table.sent(channel, ChannelInput.SEND_EOF)
        if channel.closing and channel.state is ChannelState.SEND_CLOSED:
            self.reset(channel.channel_id, *channel.closing)
        if channel.closing or channel.state is ChannelState.CLOSED:
            self._tell(ChannelClosed(channel.channel_id))

    def _abandon(self, channel: Channel) -> None:
        self._credit.abandon(channel)
        self._table.forget_if_done(channel)
