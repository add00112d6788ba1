# SPDX-License-Identifier: Apache-2.0
"""The two levels of credit that we grant, kept together; docs/mux-protocol.md, section Credit."""

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.channel import Channel
from mezite.core.mux.channel_state import ChannelState
from mezite.core.mux.flow_window import GrowthPool, ReceiveWindow, RoundTrips
from mezite.core.mux.frames import FrameType, encode_number
from mezite.core.mux.limits import MuxLimits
from mezite.core.mux.send_scheduler import SendScheduler

__all__ = ["ReceiveCredit"]

MAX_PINGS = 8
"""A peer that leaves so many unanswered gets no more: at one in 5 s it is long dead by then."""


class ReceiveCredit:
    """Each DATA byte is counted on its channel and on the connection, and given back once on each."""

    def __init__(self, limits: MuxLimits, pool: GrowthPool, sender: SendScheduler) -> None:
        self._start = limits.channel_window
        self._largest = limits.channel_window_max
        self._pool = pool
        self._sender = sender
        self._connection = ReceiveWindow(limits.connection_window)
        self.trips = RoundTrips()

    @property
    def unconsumed(self) -> int:
        """Bytes that arrived on any channel and were not consumed."""
        return self._connection.unconsumed

    def receive(self, channel: Channel, count: int) -> None:
        """DATA came. Raises RemoteProtocolError (FLOW_CONTROL) when either credit did not cover it (B2)."""
        channel.receive.receive(count)
        self._connection.receive(count)

    def consume(self, channel: Channel, count: int) -> None:
        """The application took ``count`` bytes. Raises LocalProtocolError for more than it was given."""
        window = channel.receive
        due = window.consume(count)
        if due and channel.state in (ChannelState.OPEN, ChannelState.SEND_CLOSED):
            if not channel.abandoned:
                self._grow(window)
            self._sender.grant(channel.channel_id, window.grant())
        self._consume_connection(count)

    def abandon(self, channel: Channel) -> None:
        """Nobody will read what came on this channel, nor what comes: hand all of it back.

        While our own output drains before a close, the peer keeps its credit: two applications that both
        send before they read must not wait for each other.
        """
        channel.abandoned = True
        self.consume(channel, channel.receive.unconsumed)

    def release(self, channel: Channel) -> None:
        """The peer sends no more on this channel: its growth goes back to the pool."""
        self._sender.withdraw_grant(channel.channel_id)
        self._pool.give_back(channel.receive.size - self._start)
        channel.receive.size = self._start

    def ping(self) -> int:
        """Queue a PING and return its token.

        Raises LocalProtocolError when the peer leaves eight unanswered.
        """
        if self.trips.under_way >= MAX_PINGS:
            raise LocalProtocolError(f"{MAX_PINGS} PINGs are not answered")
        token = self.trips.next_ping()
        self._sender.push(encode_number(FrameType.PING, 0, token, 8))
        return token

    def _consume_connection(self, count: int) -> None:
        if self._connection.consume(count):
            self._sender.grant(0, self._connection.grant())

    def _grow(self, window: ReceiveWindow) -> None:
        if window.size < self._largest:
            self.trips.grow(window, self._largest, self._pool)
            if not self.trips.under_way:
                self.ping()
            window.probe = self.trips.sent
