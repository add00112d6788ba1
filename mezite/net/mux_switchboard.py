# SPDX-License-Identifier: Apache-2.0
"""Takes the events of a mux connection to whom they concern, without ever waiting for anyone."""

from collections.abc import Callable

import attrs
import trio

from mezite.core.mux.connection import ChannelHeader, MuxConnection
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import (
    ChannelAccepted,
    ChannelClosed,
    ChannelOpened,
    ChannelRejected,
    ChannelReset,
    ConnectionClosed,
    ConnectionReady,
    DataReceived,
    EofReceived,
    GoAwayReceived,
    NeedData,
    PongReceived,
    SendBufferSpace,
)
from mezite.net.mux_channel import ChannelInbox, ChannelResetError, MuxChannel
from mezite.net.mux_liveness import Liveness

__all__ = ["ChannelRejectedError", "Opening", "PendingChannel", "Switchboard", "TunnelClosedError"]


class TunnelClosedError(Exception):
    """The connection is over: ``reason`` for an operator, ``code`` as in docs/mux-protocol.md."""

    def __init__(self, reason: str, code: ErrorCode = ErrorCode.CONNECTION_LOST) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class ChannelRejectedError(Exception):
    """A channel was not opened; ``text`` is the other side's, or says that it took too long."""

    def __init__(self, code: ErrorCode, text: str) -> None:
        super().__init__(f"channel rejected: {text or code.name}")
        self.code = code
        self.text = text


@attrs.define(eq=False)
class Opening:
    """A channel of ours that waits for its answer."""

    header: ChannelHeader
    answered: trio.Event = attrs.field(factory=trio.Event)
    result: MuxChannel | Exception | None = None

    def answer(self, result: MuxChannel | Exception) -> None:
        """Accepted, rejected, or the connection is lost."""
        self.result = result
        self.answered.set()


@attrs.define(eq=False)
class PendingChannel:
    """A channel that the peer offers: call ``accept`` or ``reject``, once."""

    header: ChannelHeader
    channel_id: int
    _switchboard: "Switchboard"
    withdrawn: bool = False
    """The opener gave up, or the connection is lost."""

    async def accept(self) -> MuxChannel:
        """The channel, ready for use. Raises trio.BrokenResourceError when the opener has given up."""
        await trio.lowlevel.checkpoint()
        if self.withdrawn:
            raise trio.BrokenResourceError("the opener has given up")
        return self._switchboard.accept(self)

    def reject(self, code: ErrorCode, text: str) -> None:
        """Refuse; ``text`` is for the user at the other end, at most 256 bytes of it."""
        if not self.withdrawn:
            self._switchboard.reject(self, code, text)


class Switchboard:
    """The channels of one connection and everything the driver must know about it."""

    def __init__(self, core: MuxConnection, liveness: Liveness, output_ready: Callable[[], object]) -> None:
        self._core = core
        self._output_ready = output_ready
        self._inboxes: dict[int, ChannelInbox] = {}
        self._openings: dict[int, Opening] = {}
        self._offers: dict[int, PendingChannel] = {}
        self._waiting: dict[int, PendingChannel] = {}
        self._queue_changed = trio.lowlevel.ParkingLot()
        self.ready = trio.Event()
        """The peer speaks the protocol."""
        self.goaway: GoAwayReceived | None = None
        self.goaway_arrived = trio.Event()
        self.closed: ConnectionClosed | None = None
        """The core has come to its end."""
        self.lost: TunnelClosedError | None = None
        """The session has come to its end."""
        inboxes = self._inboxes
        self._routes: dict[type, Callable[..., None]] = {
            DataReceived: lambda event: inboxes[event.channel_id].receive(event.data),
            EofReceived: lambda event: inboxes[event.channel_id].end(),
            SendBufferSpace: lambda event: inboxes[event.channel_id].make_room(),
            ChannelOpened: self._opened,
            ChannelAccepted: self._accepted,
            ChannelRejected: self._rejected,
            ChannelReset: self._reset,
            ChannelClosed: lambda event: self._forget(event.channel_id),
            PongReceived: lambda event: liveness.pong_received(event.token, trio.current_time()),
            GoAwayReceived: self._goaway,
            ConnectionReady: lambda _: self.ready.set(),
        }

    @property
    def busy(self) -> bool:
        """Some channel has not ended, or has bytes to send, or waits for an answer."""
        return bool(self._inboxes or self._openings or self._offers)

    def route_events(self) -> None:
        """Take all events there are from the core."""
        while not isinstance(event := self._core.next_event(), NeedData):
            if isinstance(event, ConnectionClosed):
                self.closed = event
                self._end_channels(TunnelClosedError(str(event.error or "the connection ended")))
                return
            self._routes[type(event)](event)

    def expect(self, channel_id: int, header: ChannelHeader) -> Opening:
        """A channel of ours was opened."""
        opening = self._openings[channel_id] = Opening(header)
        return opening

    def give_up(self, channel_id: int, code: ErrorCode, text: str) -> None:
        """Nobody waits for the answer any more: end the channel whatever the answer was."""
        self._openings.pop(channel_id, None)
        self._inboxes.pop(channel_id, None)
        self._core.reset_channel(channel_id, code, text)
        self._output_ready()

    def accept(self, offer: PendingChannel) -> MuxChannel:
        """Open an offered channel."""
        self._core.accept_channel(offer.channel_id)
        del self._offers[offer.channel_id]
        self._output_ready()
        return self._channel(offer.channel_id, offer.header)

    def reject(self, offer: PendingChannel, code: ErrorCode, text: str) -> None:
        """Refuse an offered channel."""
        self._core.reject_channel(offer.channel_id, code, text)
        del self._offers[offer.channel_id]
        self._output_ready()

    async def next_offer(self) -> PendingChannel:
        """The oldest channel that the peer offers; raises TunnelClosedError when no more can come."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._waiting:
                return self._waiting.pop(next(iter(self._waiting)))
            if self.lost is not None:
                raise TunnelClosedError(self.lost.reason, self.lost.code)
            await self._queue_changed.park()

    def reset_lingering(self, closed_before: float) -> None:
        """Channels closed before that time whose last bytes the peer still gives no credit for end now."""
        for channel_id, inbox in list(self._inboxes.items()):
            if inbox.closed_at is not None and inbox.closed_at <= closed_before:
                self._forget(channel_id)
                self._core.reset_channel(channel_id, ErrorCode.DEADLINE, "closed, and the rest was not read")
                self._output_ready()

    def lose(self, error: TunnelClosedError) -> None:
        """The session is over: tell everyone."""
        self.lost = error
        self._end_channels(error)
        for opening in self._openings.values():
            opening.answer(TunnelClosedError(error.reason, error.code))
        for table in (self._inboxes, self._openings, self._offers, self._waiting):
            table.clear()
        self._queue_changed.unpark_all()
        self.goaway_arrived.set()

    def _end_channels(self, error: TunnelClosedError) -> None:
        """The core knows no channel any more, so nobody may ask it for one."""
        for inbox in self._inboxes.values():
            inbox.break_(error, keep_data=True)
        for offer in self._offers.values():
            offer.withdrawn = True

    def _channel(self, channel_id: int, header: ChannelHeader) -> MuxChannel:
        inbox = self._inboxes[channel_id] = ChannelInbox()
        return MuxChannel(
            self._core,
            channel_id,
            header,
            inbox=inbox,
            output_ready=self._output_ready,
            released=self._forget,
        )

    def _forget(self, channel_id: int) -> None:
        self._inboxes.pop(channel_id, None)

    def _opened(self, event: ChannelOpened) -> None:
        offer = self._offers[event.channel_id] = PendingChannel(event.header, event.channel_id, self)
        self._waiting[event.channel_id] = offer
        self._queue_changed.unpark()

    def _accepted(self, event: ChannelAccepted) -> None:
        opening = self._openings.pop(event.channel_id)
        opening.answer(self._channel(event.channel_id, opening.header))

    def _rejected(self, event: ChannelRejected) -> None:
        opening = self._openings.pop(event.channel_id)
        text = event.text
        if event.code is ErrorCode.DRAINING and self.goaway is not None:
            # The offer crossed the GOAWAY, which came first and knows more than the refusal that it brings.
            text = self.goaway.text or text
        opening.answer(ChannelRejectedError(event.code, text))

    def _reset(self, event: ChannelReset) -> None:
        self._waiting.pop(event.channel_id, None)
        offer = self._offers.pop(event.channel_id, None)
        if offer is not None:
            offer.withdrawn = True
            return
        inbox = self._inboxes.pop(event.channel_id)
        inbox.break_(ChannelResetError(event.code, event.text), keep_data=event.after_eof)

    def _goaway(self, event: GoAwayReceived) -> None:
        self.goaway = event
        self.goaway_arrived.set()
