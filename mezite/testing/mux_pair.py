# SPDX-License-Identifier: Apache-2.0
"""Two MuxConnections face to face over a pretend wire."""

from collections.abc import Callable, Iterable

from mezite.core.mux.connection import ChannelHeader, MuxConnection, MuxLimits, Side
from mezite.core.mux.events import ConnectionClosed, Event, NeedData

__all__ = ["MuxPair", "drain_events", "drain_output"]

BATCH = 64 * 1024


def drain_events(connection: MuxConnection) -> list[Event]:
    """Every event there is now; ends with ConnectionClosed once when the connection is closed."""
    events: list[Event] = []
    while True:
        event = connection.next_event()
        if isinstance(event, NeedData):
            return events
        events.append(event)
        if isinstance(event, ConnectionClosed):
            return events


def drain_output(connection: MuxConnection, batch: int = BATCH) -> bytes:
    """All bytes that the connection wants to send now."""
    output = bytearray()
    while connection.has_data_to_send:
        output += connection.data_to_send(batch)
    return bytes(output)


def whole(data: bytes) -> Iterable[bytes]:
    """The cut that does not cut."""
    return (data,)


class MuxPair:
    """A dialer and an accepter; ``cut`` decides in which portions bytes arrive."""

    def __init__(
        self,
        limits: MuxLimits | None = None,
        accepter_limits: MuxLimits | None = None,
        *,
        cut: Callable[[bytes], Iterable[bytes]] = whole,
    ) -> None:
        self.dialer = MuxConnection(Side.DIALER, limits or MuxLimits())
        self.accepter = MuxConnection(Side.ACCEPTER, accepter_limits or limits or MuxLimits())
        self._cut = cut

    def deliver(self, sender: MuxConnection, receiver: MuxConnection) -> list[Event]:
        """Carry what ``sender`` has to the other side; the events there."""
        events: list[Event] = []
        for portion in self._cut(drain_output(sender)):
            receiver.receive_data(portion)
            events += drain_events(receiver)
        return events

    def exchange(self) -> tuple[list[Event], list[Event]]:
        """Carry bytes both ways until nothing moves; the events at the dialer and at the accepter."""
        at_dialer, at_accepter = drain_events(self.dialer), drain_events(self.accepter)
        while self.dialer.has_data_to_send or self.accepter.has_data_to_send:
            at_accepter += self.deliver(self.dialer, self.accepter)
            at_dialer += self.deliver(self.accepter, self.dialer)
            # Sending makes events too.
            at_dialer += drain_events(self.dialer)
            at_accepter += drain_events(self.accepter)
        return without_repeats(at_dialer), without_repeats(at_accepter)

    def open(self, header: ChannelHeader | None = None) -> int:
        """A channel from the dialer that the accepter has accepted; its id."""
        channel_id = self.dialer.open_channel(header or ChannelHeader(kind="test"))
        self.exchange()
        self.accepter.accept_channel(channel_id)
        self.exchange()
        return channel_id


def without_repeats(events: list[Event]) -> list[Event]:
    """Up to and including the first ConnectionClosed: it repeats whenever it is asked for."""
    for index, event in enumerate(events):
        if isinstance(event, ConnectionClosed):
            return events[: index + 1]
    return events
