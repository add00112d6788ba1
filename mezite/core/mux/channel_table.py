# SPDX-License-Identifier: Apache-2.0
"""Which channels there are, which ids were used, and how many may be open."""

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.channel import Channel
from mezite.core.mux.channel_state import ChannelInput, ChannelState, next_state
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import ReceiveWindow
from mezite.core.mux.header import ChannelHeader
from mezite.core.mux.limits import MuxLimits

__all__ = ["ChannelTable", "TooManyChannelsError"]

LAST_ID = 2**31 - 1


class TooManyChannelsError(LocalProtocolError):
    """As many channels of ours are open as both sides allow; it may work later."""


class ChannelTable:
    """Channels by id.

    A closed channel stays as long as the application holds unread bytes of it, and then costs nothing: ids
    are handed out without gaps, so two numbers remember all that ever were.
    """

    def __init__(self, first_id: int, limits: MuxLimits) -> None:
        self._limits = limits
        self._channels: dict[int, Channel] = {}
        self._next_ours = first_id
        self._next_theirs = 3 - first_id
        self.open_ours = 0
        self.open_theirs = 0
        self.offered = 0
        """Channels of the peer that wait for an answer."""
        self.allowed_ours = limits.max_channels
        """How many the peer lets us open; known with its settings."""
        self.start_credit = 0
        """What a new channel may send; known with the peer's settings."""

    @property
    def open_count(self) -> int:
        """Channels that are not closed, whoever opened them."""
        return self.open_ours + self.open_theirs

    @property
    def last_theirs(self) -> int:
        """The newest id that the peer opened, 0 before the first."""
        return max(0, self._next_theirs - 2)

    def get(self, channel_id: int) -> Channel | None:
        """The channel, or None when the id was never used or its channel is over."""
        return self._channels.get(channel_id)

    def existing(self, channel_id: int) -> Channel:
        """As ``get``, but raises LocalProtocolError for None."""
        channel = self._channels.get(channel_id)
        if channel is None:
            raise LocalProtocolError(f"channel {channel_id} is closed or never was")
        return channel

    def sending(self, channel_id: int) -> Channel:
        """The channel, if the application may still send on it; else raises LocalProtocolError."""
        channel = self.existing(channel_id)
        may_send = channel.state in (ChannelState.OPEN, ChannelState.RECEIVE_CLOSED)
        if not may_send or channel.ending or channel.abandoned:
            raise LocalProtocolError(f"channel {channel_id} in state {channel.state.name} cannot send")
        return channel

    def was_opened(self, channel_id: int) -> bool:
        """The id is or was a channel's."""
        newest = self._next_ours if channel_id % 2 == self._next_ours % 2 else self._next_theirs
        return 0 < channel_id < newest

    def open(self, header: ChannelHeader) -> Channel:
        """A channel of ours in state OPENING.

        Raises TooManyChannelsError, or LocalProtocolError when the ids are used up: then the connection must
        be replaced.
        """
        if self.open_ours >= min(self.allowed_ours, self._limits.max_channels):
            raise TooManyChannelsError("as many channels as allowed are open")
        if self._next_ours > LAST_ID:
            raise LocalProtocolError("channel ids are used up")
        channel = self._add(self._next_ours, header, ours=True)
        self.sent(channel, ChannelInput.SEND_OPEN)
        self._next_ours += 2
        self.open_ours += 1
        return channel

    def claim_id(self, channel_id: int) -> None:
        """The peer used this id for an OPEN.

        Raises RemoteProtocolError (PROTOCOL_ERROR) unless it is the next one of its own.
        """
        if channel_id != self._next_theirs:
            text = f"OPEN of channel {channel_id}, not {self._next_theirs}"
            raise RemoteProtocolError(text, ErrorCode.PROTOCOL_ERROR)
        self._next_theirs += 2

    def offer(self, channel_id: int, header: ChannelHeader) -> Channel:
        """A channel of the peer's, in state OFFERED."""
        channel = self._add(channel_id, header, ours=False)
        self.open_theirs += 1
        self.received(channel_id, ChannelInput.RECEIVE_OPEN)
        return channel

    def allow(self, max_channels: int, start_credit: int) -> None:
        """The peer's settings came; channels opened ahead of them get their credit."""
        self.allowed_ours = max_channels
        self.start_credit = start_credit
        for channel in self._channels.values():
            channel.send_credit = start_credit

    def sent(self, channel: Channel, happened: ChannelInput) -> None:
        """A frame was sent. Raises LocalProtocolError, changing nothing, when it may not be."""
        state = next_state(channel.state, happened)
        if state is None:
            raise LocalProtocolError(f"{happened.name} in state {channel.state.name}")
        self._move(channel, state)

    def received(self, channel_id: int, happened: ChannelInput) -> Channel | None:
        """A frame came; the channel after it, or None for a harmless leftover of a closed one.

        Raises RemoteProtocolError: UNKNOWN_CHANNEL, CHANNEL_CLOSED, or PROTOCOL_ERROR in other states.
        """
        channel = self._channels.get(channel_id)
        if channel is not None:
            before = channel.state
        else:
            before = ChannelState.CLOSED if self.was_opened(channel_id) else ChannelState.IDLE
        after = next_state(before, happened)
        if after is None:
            codes = {
                ChannelState.IDLE: ErrorCode.UNKNOWN_CHANNEL,
                ChannelState.CLOSED: ErrorCode.CHANNEL_CLOSED,
            }
            text = f"{happened.name} on channel {channel_id} in state {before.name}"
            raise RemoteProtocolError(text, codes.get(before, ErrorCode.PROTOCOL_ERROR))
        if channel is not None:
            self._move(channel, after)
        return channel

    def forget_if_done(self, channel: Channel) -> None:
        """Drop a closed channel of which nothing is unread."""
        if channel.state is ChannelState.CLOSED and not channel.receive.unconsumed:
            self._channels.pop(channel.channel_id, None)

    def forget_all(self) -> list[Channel]:
        """Empty the table at the end of the connection; returns what was in it."""
        channels = list(self._channels.values())
        self._channels.clear()
        self.open_ours = self.open_theirs = self.offered = 0
        return channels

    def _add(self, channel_id: int, header: ChannelHeader, *, ours: bool) -> Channel:
        window = ReceiveWindow(self._limits.channel_window)
        channel = Channel(channel_id, ours, header, window, self.start_credit)
        self._channels[channel_id] = channel
        return channel

    def _move(self, channel: Channel, state: ChannelState) -> None:
        before = channel.state
        if state is before:
            return
        channel.state = state
        self.offered += (state is ChannelState.OFFERED) - (before is ChannelState.OFFERED)
        if state is ChannelState.CLOSED:
            if channel.ours:
                self.open_ours -= 1
            else:
                self.open_theirs -= 1
            self.forget_if_done(channel)
