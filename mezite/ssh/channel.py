# SPDX-License-Identifier: Apache-2.0
"""One SSH channel as a Trio stream (RFC 4254 section 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from mezite.ssh import messages
from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.receive_buffer import ReceiveBuffer
from mezite.ssh.wire import WireReader

__all__ = ["Channel", "ChannelLink", "RequestHandler"]

RequestHandler = Callable[[str, WireReader], bool]
_WINDOW_MAXIMUM = 2**32 - 1
#: Larger data messages bring nothing and hold up the other channels.
_PACKET_BYTES = 32 * 1024


class ChannelLink(Protocol):
    """What a channel needs of its connection."""

    def send(self, payload: bytes) -> None:
        """Send a message soon, in order; nothing happens on a closed connection."""

    def send_data(self, header: bytes, data: memoryview) -> bool:
        """Send data now, or ``False``: wait first."""

    async def wait_sendable(self) -> None:
        """Wait until data may perhaps be sent."""

    def forget(self, channel: Channel) -> None:
        """Both sides have closed."""


class Channel(trio.abc.HalfCloseableStream):
    """Made by the connection; both directions are bounded by the windows, and by nothing else.

    Whoever opened it answers with :attr:`on_request` set, which is called for each channel request,
    synchronously and in order, and says whether it was granted.
    """

    def __init__(self, link: ChannelLink, local_id: int, *, window: int) -> None:
        self._link = link
        self.local_id = local_id
        self.remote_id = 0
        self.window = window
        """Bytes this channel may hold unread, for the connection's budget."""
        self.on_request: RequestHandler | None = None
        self.bytes_in = 0
        """Data received so far."""
        self.bytes_out = 0
        """Data sent so far, standard error included."""
        self.peer_closed = trio.Event()
        """The client has closed the channel or the connection is gone: nobody reads what is sent."""
        self._received = ReceiveBuffer(window, self._grant)
        self._received_eof = False
        self._received_close = False
        self._out_window = 0
        self._out_packet = 0
        self._sent_eof = False
        self._sent_close = False
        self._closed_here = False
        self._readable = trio.lowlevel.ParkingLot()
        self._window_opened = trio.lowlevel.ParkingLot()

    # ---- for tasks --------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Data, or ``b""`` after the client's EOF.

        :exc:`trio.ClosedResourceError` after :meth:`aclose`; :exc:`trio.BrokenResourceError` when the client
        closed the channel or the connection broke. Cancelling loses nothing.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        await trio.lowlevel.checkpoint()
        while not self._received:
            if self._closed_here:
                raise trio.ClosedResourceError
            if self._received_eof:
                return b""
            if self.peer_closed.is_set():
                raise trio.BrokenResourceError("the client closed the channel")
            await self._readable.park()
        return self._received.take(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send data. What was sent when cancelled is unknown; the channel stays usable for closing it.

        :exc:`trio.ClosedResourceError` after :meth:`send_eof` or :meth:`aclose`;
        :exc:`trio.BrokenResourceError` when nobody will read it.
        """
        await self._send(data, None)

    async def send_stderr(self, data: bytes | bytearray | memoryview) -> None:
        """As :meth:`send_all`, for the client's standard error."""
        await self._send(data, 1)

    async def _send(self, data: bytes | bytearray | memoryview, extended: int | None) -> None:
        await trio.lowlevel.checkpoint()
        with memoryview(data) as view:
            offset = 0
            while offset < len(view):
                self._check_sendable()
                if not self._out_window:
                    await self._window_opened.park()
                    continue
                size = min(len(view) - offset, self._out_window, self._out_packet)
                header = messages.channel_data_header(self.remote_id, size, extended=extended)
                if not self._link.send_data(header, view[offset : offset + size]):
                    await self._link.wait_sendable()
                    continue
                self._out_window -= size
                self.bytes_out += size
                offset += size

    def _check_sendable(self) -> None:
        if self._sent_eof or self._closed_here:
            raise trio.ClosedResourceError
        if self.peer_closed.is_set():
            raise trio.BrokenResourceError("the client closed the channel")

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room in the client's window."""
        await trio.lowlevel.checkpoint()
        self._check_sendable()
        while not self._out_window:
            await self._window_opened.park()
            self._check_sendable()

    async def send_eof(self) -> None:
        """No more data; the other direction stays open."""
        await trio.lowlevel.checkpoint()
        if self._closed_here:
            raise trio.ClosedResourceError
        self.send_eof_nowait()

    def send_eof_nowait(self) -> None:
        """As :meth:`send_eof`; nothing happens the second time or on a closed channel."""
        if not self._sent_eof and not self._sent_close:
            self._sent_eof = True
            self._link.send(messages.channel_eof(self.remote_id))

    def send_request(self, payload: bytes) -> None:
        """Send a channel request; must come before EOF, or clients miss an exit status."""
        if not self._sent_close:
            self._link.send(payload)

    async def aclose(self) -> None:
        """As :meth:`close`."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close our side; unread data is dropped. Harmless the second time."""
        self._closed_here = True
        self._received.clear()
        self._send_close()
        self._readable.unpark_all()
        self._window_opened.unpark_all()

    def _send_close(self) -> None:
        if not self._sent_close:
            self._sent_close = True
            self._link.send(messages.channel_close(self.remote_id))
            if self._received_close:
                self._link.forget(self)

    def _grant(self, count: int) -> None:
        if not self._sent_close and not self._received_eof:
            self._link.send(messages.window_adjust(self.remote_id, count))

    # ---- for the connection -----------------------------------------------------------------------------

    def set_remote(self, remote_id: int, window: int, packet: int) -> None:
        """The other side's number and how much it takes."""
        if packet == 0:
            raise PeerProtocolError("channel with a maximum packet size of 0")
        self.remote_id = remote_id
        self._out_window = window
        self._out_packet = min(packet, _PACKET_BYTES)

    def receive_data(self, data: bytes, *, extended: bool = False) -> None:
        """Data from the client: more than was allowed ends the connection (stock paramiko buffers it all).

        Nothing on this side reads extended data: it counts and is dropped. So is what crossed our close.
        """
        self._received.spend(len(data))
        if extended:
            self._received.release(len(data))
        elif not self._closed_here and not self._received_eof:
            self.bytes_in += len(data)
            self._received.append(data)
            self._readable.unpark_all()

    def receive_window(self, count: int) -> None:
        """The client takes ``count`` more bytes."""
        self._out_window += count
        if self._out_window > _WINDOW_MAXIMUM:
            raise PeerProtocolError("channel window above 4 GiB")
        self._window_opened.unpark_all()

    def receive_eof(self) -> None:
        """No more data from the client."""
        self._received_eof = True
        self._readable.unpark_all()

    def receive_close(self) -> None:
        """The client is done with the channel: answered at once, as the standard asks."""
        self._received_close = True
        if self._sent_close:
            self._link.forget(self)
        else:
            self._send_close()
        self.lose()

    def lose(self) -> None:
        """The client will not send or read any more: it closed the channel, or the connection is gone."""
        self.peer_closed.set()
        self._readable.unpark_all()
        self._window_opened.unpark_all()
