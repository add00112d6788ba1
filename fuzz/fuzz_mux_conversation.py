# SPDX-License-Identifier: Apache-2.0
"""Claim: whatever a peer sends, legal or not, and whatever the application does meanwhile, a connection ends
with a RemoteProtocolError that has a code, or goes on; it never holds more than its limits allow, a closed
connection stays closed, and DATA reaches the application only on channels that are open (threats B2, B9).

Allowed exceptions: LocalProtocolError, from what the application asks for.
"""

import contextlib
from collections.abc import Callable

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.connection import ChannelHeader, MuxConnection, MuxLimits, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import (
    ChannelAccepted,
    ChannelClosed,
    ChannelOpened,
    ChannelReset,
    ConnectionClosed,
    DataReceived,
    NeedData,
)
from mezite.core.mux.frames import FrameType, encode_frame
from mezite.core.mux.settings import encode_settings

LIMITS = MuxLimits(
    max_frame=4096,
    max_channels=4,
    accept_backlog=2,
    channel_window=4096,
    channel_window_max=16384,
    connection_window=16384,
    window_growth=8192,
    channel_send_buffer=8192,
    connection_send_buffer=16384,
    send_buffer_floor=1024,
    reply_buffer=4096,
)


class Conversation:
    """One connection between an application and a peer that both do as the bytes say."""

    def __init__(self) -> None:
        self.connection = MuxConnection(Side.ACCEPTER, LIMITS)
        self.open: set[int] = set()
        self.closed = False
        self.actions: list[Callable[[int, int], object]] = [
            lambda channel, size: self.connection.accept_channel(channel) or self.open.add(channel),
            lambda channel, size: self.connection.reject_channel(channel, ErrorCode.REFUSED, "x" * size),
            lambda channel, size: self.connection.send_data(channel, bytes(size * 16)),
            lambda channel, size: self.connection.send_eof(channel),
            lambda channel, size: self.connection.consume(channel, size * 16),
            lambda channel, size: self.done(channel, self.connection.close_channel),
            lambda channel, size: self.done(channel, self.connection.reset_channel, ErrorCode.CANCELLED, "x"),
            lambda channel, size: self.connection.open_channel(ChannelHeader(kind="k", target="t" * size)),
            lambda channel, size: self.connection.send_ping(),
            lambda channel, size: self.connection.send_goaway(size, ErrorCode.DRAINING, ""),
            lambda channel, size: self.connection.data_to_send(8192 + size * 64),
            lambda channel, size: self.connection.data_to_send(8192),
        ]

    def done(self, channel: int, end: Callable[..., None], *reason: object) -> None:
        end(channel, *reason)
        self.open.discard(channel)

    def act(self, what: int, channel: int, size: int) -> None:
        with contextlib.suppress(LocalProtocolError):
            self.actions[what % len(self.actions)](channel, size)

    def hear(self, data: bytes) -> None:
        self.connection.receive_data(data)
        while not isinstance(event := self.connection.next_event(), NeedData):
            if isinstance(event, ConnectionClosed):
                assert event.error is not None
                assert event.error.code
                self.closed = True
                return
            assert not self.closed
            if isinstance(event, ChannelOpened):
                assert event.channel_id % 2
            elif isinstance(event, ChannelAccepted):
                self.open.add(event.channel_id)
            elif isinstance(event, DataReceived):
                assert event.channel_id in self.open
                assert event.data
            elif isinstance(event, ChannelClosed | ChannelReset):
                self.open.discard(event.channel_id)

    def check_bounds(self) -> None:
        numbers = self.connection.statistics()
        assert 0 <= numbers.channels_theirs <= LIMITS.max_channels
        assert 0 <= numbers.channels_ours <= LIMITS.max_channels
        assert 0 <= numbers.unconsumed <= LIMITS.connection_window
        assert 0 <= numbers.unsent <= LIMITS.connection_send_buffer + 8 * LIMITS.send_buffer_floor
        # One frame of at most 266 bytes may pass the bound before it is noticed at the next event.
        assert 0 <= numbers.unsent_replies <= LIMITS.reply_buffer + 8 * 300


def check(data: bytes) -> None:
    """A step is four bytes: what, channel, size, content; the first byte says whether SETTINGS come first."""
    conversation = Conversation()
    if data[:1] != b"\0":
        conversation.hear(encode_settings(LIMITS))
    for at in range(1, len(data) - 3, 4):
        what, channel, size, content = data[at : at + 4]
        if what < 128:
            kind = what % 16
            payload = {
                FrameType.OPEN: b"\1\0\1k",
                FrameType.WINDOW: (size << content % 24).to_bytes(4),
                FrameType.PONG: size.to_bytes(8),
            }.get(kind, bytes([content]) * (size * (16 if kind == FrameType.DATA else 1)))
            conversation.hear(encode_frame(kind, channel % 12, payload))
        elif what < 160:
            conversation.hear(data[at : at + 1 + size])
        else:
            conversation.act(what, channel % 12, size)
        conversation.check_bounds()


if __name__ == "__main__":
    import sys

    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
