# SPDX-License-Identifier: Apache-2.0
"""The channels of one connection: opening them from both sides, and who gets which message (RFC 4254)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
import trio

from mezite.ssh import messages
from mezite.ssh.channel import Channel, ChannelLink
from mezite.ssh.errors import PeerProtocolError, SshError
from mezite.ssh.limits import SshLimits
from mezite.ssh.messages import ConnectionMessage, OpenFailure
from mezite.ssh.wire import WireReader

__all__ = ["ChannelTable", "OpenRequest"]


@attrs.frozen
class OpenRequest:
    """A client asks for a channel. Answer exactly once, now or later: :meth:`confirm` or :meth:`refuse`."""

    table: ChannelTable
    kind: str
    data: WireReader
    """The fields of the kind; read them before returning."""
    remote_id: int
    window: int
    packet: int

    def confirm(self) -> Channel:
        """The open channel; :exc:`SshError` (and a refusal sent) when the connection's budget is used up."""
        return self.table.confirm(self)

    def refuse(self, reason: OpenFailure, text: str) -> None:
        """No, with a text for the user."""
        self.table.refuse(self, reason, text)


class TableLink(ChannelLink, Protocol):
    """What the table needs of its connection besides what channels need."""

    def receive_open(self, request: OpenRequest) -> None:
        """Answer now or start a task that does."""


class ChannelTable:
    """Numbers are never used twice, so a message for a channel that is gone can be told from one for a
    channel that never was. All methods but :meth:`open_channel` are synchronous; those that receive raise
    :exc:`PeerProtocolError`.
    """

    def __init__(self, link: TableLink, limits: SshLimits) -> None:
        self._link = link
        self._limits = limits
        self._channels: dict[int, Channel] = {}
        self._next_id = 0
        self._unanswered = 0
        self._asked: dict[int, Callable[[Channel | None], None]] = {}
        self._window_bytes = 0

    def __len__(self) -> int:
        return len(self._channels)

    def lose_all(self) -> None:
        """The connection is gone."""
        for channel in list(self._channels.values()):
            channel.lose()
        asked, self._asked = self._asked, {}
        for tell in asked.values():
            tell(None)

    def forget(self, channel: Channel) -> None:
        """Both sides have closed ``channel``."""
        if self._channels.pop(channel.local_id, None) is not None:
            self._window_bytes -= channel.window

    # ---- opening ----------------------------------------------------------------------------------------

    def _new_channel(self) -> Channel:
        window = self._limits.channel_window_bytes
        if self._window_bytes + window > self._limits.connection_window_bytes:
            raise SshError("too much may be in flight on this connection already")
        channel = Channel(self._link, self._next_id, window=window)
        self._next_id += 1
        self._channels[channel.local_id] = channel
        self._window_bytes += window
        return channel

    def confirm(self, request: OpenRequest) -> Channel:
        """As :meth:`OpenRequest.confirm`."""
        try:
            channel = self._new_channel()
        except SshError as error:
            self.refuse(request, OpenFailure.RESOURCE_SHORTAGE, str(error))
            raise
        self._unanswered -= 1
        channel.set_remote(request.remote_id, request.window, request.packet)
        self._link.send(
            messages.channel_open_confirmation(
                request.remote_id,
                channel.local_id,
                window=channel.window,
                packet=self._limits.channel_packet_bytes,
            )
        )
        return channel

    def refuse(self, request: OpenRequest, reason: OpenFailure, text: str) -> None:
        """As :meth:`OpenRequest.refuse`."""
        self._unanswered -= 1
        self._link.send(messages.channel_open_failure(request.remote_id, reason, text))

    async def open_channel(self, kind: str, data: bytes) -> Channel | None:
        """Ask the client for a channel; ``None`` when it refuses or the connection ends.

        :exc:`SshError` when the connection has too many. When cancelled, a channel the client grants later is
        closed.
        """
        if len(self._channels) >= self._limits.channels:
            raise SshError("too many channels on this connection")
        channel = self._new_channel()
        answered = trio.Event()
        result: list[Channel | None] = []

        def tell(opened: Channel | None) -> None:
            result.append(opened)
            answered.set()

        self._asked[channel.local_id] = tell
        packet = self._limits.channel_packet_bytes
        self._link.send(
            messages.channel_open(kind, channel.local_id, window=channel.window, packet=packet, data=data)
        )
        try:
            await answered.wait()
        except trio.Cancelled:
            if not result:
                self._asked[channel.local_id] = lambda opened: opened.close() if opened else None
            raise
        return result[0]

    # ---- receiving --------------------------------------------------------------------------------------

    def receive(self, kind: int, reader: WireReader) -> bool:
        """Act on a message about channels; ``False`` when it is not one."""
        if kind == ConnectionMessage.CHANNEL_OPEN:
            self._receive_open(reader)
            return True
        receive = _RECEIVERS.get(kind)
        if receive is None:
            return False
        local_id = reader.uint32()
        if local_id >= self._next_id:
            raise PeerProtocolError("message for a channel that never existed")
        # Clients send a last window for a channel that both sides have closed.
        channel = self._channels.get(local_id)
        if channel is not None:
            receive(self, channel, reader)
        return True

    def _receive_open(self, reader: WireReader) -> None:
        kind, remote_id, window, packet = reader.text(), reader.uint32(), reader.uint32(), reader.uint32()
        request = OpenRequest(self, kind, reader, remote_id, window, packet)
        self._unanswered += 1
        if len(self._channels) + self._unanswered > self._limits.channels:
            request.refuse(OpenFailure.RESOURCE_SHORTAGE, "too many channels on this connection")
        else:
            self._link.receive_open(request)

    def _receive_confirmation(self, channel: Channel, reader: WireReader) -> None:
        tell = self._asked.pop(channel.local_id, None)
        if tell is None:
            raise PeerProtocolError("confirmation of a channel nobody asked for")
        channel.set_remote(reader.uint32(), reader.uint32(), reader.uint32())
        tell(channel)

    def _receive_failure(self, channel: Channel, _reader: WireReader) -> None:
        tell = self._asked.pop(channel.local_id, None)
        if tell is None:
            raise PeerProtocolError("refusal of a channel nobody asked for")
        self.forget(channel)
        tell(None)

    def _receive_window(self, channel: Channel, reader: WireReader) -> None:
        channel.receive_window(reader.uint32())

    def _receive_data(self, channel: Channel, reader: WireReader) -> None:
        channel.receive_data(reader.string())

    def _receive_extended_data(self, channel: Channel, reader: WireReader) -> None:
        reader.uint32()
        channel.receive_data(reader.string(), extended=True)

    def _receive_eof(self, channel: Channel, _reader: WireReader) -> None:
        channel.receive_eof()

    def _receive_close(self, channel: Channel, _reader: WireReader) -> None:
        channel.receive_close()

    def _receive_request(self, channel: Channel, reader: WireReader) -> None:
        name, want_reply = reader.text(), reader.boolean()
        granted = channel.on_request(name, reader) if channel.on_request else False
        if want_reply:
            channel.send_request(messages.channel_reply(channel.remote_id, granted))

    def _receive_reply(self, _channel: Channel, _reader: WireReader) -> None:
        """We send no channel request that wants a reply; paramiko closed the channel here."""


_RECEIVERS: dict[int, Callable[[ChannelTable, Channel, WireReader], None]] = {
    ConnectionMessage.CHANNEL_OPEN_CONFIRMATION: ChannelTable._receive_confirmation,
    ConnectionMessage.CHANNEL_OPEN_FAILURE: ChannelTable._receive_failure,
    ConnectionMessage.CHANNEL_WINDOW_ADJUST: ChannelTable._receive_window,
    ConnectionMessage.CHANNEL_DATA: ChannelTable._receive_data,
    ConnectionMessage.CHANNEL_EXTENDED_DATA: ChannelTable._receive_extended_data,
    ConnectionMessage.CHANNEL_EOF: ChannelTable._receive_eof,
    ConnectionMessage.CHANNEL_CLOSE: ChannelTable._receive_close,
    ConnectionMessage.CHANNEL_REQUEST: ChannelTable._receive_request,
    ConnectionMessage.CHANNEL_SUCCESS: ChannelTable._receive_reply,
    ConnectionMessage.CHANNEL_FAILURE: ChannelTable._receive_reply,
}
