# SPDX-License-Identifier: Apache-2.0
"""Which bytes go out next; docs/mux-protocol.md, section Order on the wire.

Control frames wait in one queue, in order. Credit to announce waits as a number per channel, so that it
cannot pile up behind a peer that does not read. Channels with something to send stand in one of two queues,
never in both: interactive, when little waits on them, or bulk. A channel without credit stands in neither
until WINDOW brings it back; when the connection's own credit is used up, channels are parked.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from mezite.core.mux.channel import Channel
from mezite.core.mux.chunk_queue import Chunk
from mezite.core.mux.frames import FRAME_HEADER, HEADER_SIZE, FrameType, encode_frame, encode_number
from mezite.core.mux.limits import MuxLimits

__all__ = ["INTERACTIVE", "SMALLEST_BATCH", "SendScheduler"]

INTERACTIVE: Final = 4096
"""A full terminal screen with colours is about this; a bulk sender always has more waiting."""
SMALLEST_BATCH: Final = 8192
"""Smallest ``max_bytes``: the longest control frame, an OPEN of 4 KiB, must fit."""
LEAST_ROOM: Final = 512
"""With less room left in a batch no DATA frame is begun; it would be mostly header."""


class SendScheduler:
    """The outgoing half of a connection.

    ``credit`` and the longest frame are the peer's to say: until ``start`` only what was pushed with
    ``push_first`` goes out. ``space_made`` is called for each blocked channel that has room again.
    """

    def __init__(self, limits: MuxLimits, *, space_made: Callable[[Channel], None]) -> None:
        self._first: deque[bytes] = deque()
        self._control: deque[bytes] = deque()
        self._grants: dict[int, int] = {}
        self._interactive: deque[Channel] = deque()
        self._bulk: deque[Channel] = deque()
        self._parked: dict[int, Channel] = {}
        self._limits = limits
        self._eof_sent: Callable[[Channel], None] = lambda _: None
        self._space_made = space_made
        self._started = False
        self._max_frame = 0
        self.credit = 0
        """Bytes of DATA that the peer takes on all channels together."""
        self.queued = 0
        """Bytes that wait on all channels together."""
        self.reply_bytes = 0
        """Control frames waiting, without OPENs: they are the ones that a peer causes."""

    def on_eof_sent(self, callback: Callable[[Channel], None]) -> None:
        """``callback`` is called for each channel whose EOF goes out."""
        self._eof_sent = callback

    def start(self, max_frame: int, credit: int) -> None:
        """The peer's settings came: everything may go out."""
        self._started = True
        self._max_frame = max_frame
        self.credit = credit

    def push_first(self, frame: bytes) -> None:
        """Queue SETTINGS or GOAWAY, which do not wait for the peer's settings."""
        self._first.append(frame)

    def push(self, frame: bytes) -> None:
        """Queue a control frame."""
        self._control.append(frame)
        if frame[0] != FrameType.OPEN:
            self.reply_bytes += len(frame)

    def grant(self, channel_id: int, credit: int) -> None:
        """Announce credit for a channel, or with id 0 for the connection."""
        self._grants[channel_id] = self._grants.get(channel_id, 0) + credit

    def withdraw_grant(self, channel_id: int) -> None:
        """The peer will not send on this channel any more."""
        self._grants.pop(channel_id, None)

    def add_credit(self, credit: int) -> None:
        """The peer takes more on all channels together."""
        self.credit += credit
        parked, self._parked = self._parked, {}
        for channel in parked.values():
            channel.scheduled = False
            self.schedule(channel)

    def queue_data(self, channel: Channel, data: bytes | memoryview) -> int:
        """Add to what waits on ``channel`` and return how many bytes found room.

        The nearer the connection's buffer is to full, the less a channel may queue, but never less than its
        floor: the buffer cannot be taken by channels that stand still (threat B3).
        """
        limits = self._limits
        fair = max(limits.send_buffer_floor, (limits.connection_send_buffer - self.queued) // 4)
        room = max(0, min(limits.channel_send_buffer, fair) - len(channel.output))
        taken = len(data)
        if taken > room:
            channel.blocked = True
            data, taken = memoryview(data)[:room], room
        channel.output.append(data)
        self.queued += taken
        self.schedule(channel)
        return taken

    def schedule(self, channel: Channel) -> None:
        """Something about ``channel`` changed that may allow it to send: output, credit, or its end."""
        waiting = len(channel.output)
        if channel.scheduled or not (channel.send_credit if waiting else channel.ending):
            return
        channel.scheduled = True
        (self._interactive if waiting <= INTERACTIVE else self._bulk).append(channel)

    def discard(self, channel: Channel) -> None:
        """The channel is over: nothing that waits on it is sent."""
        self.queued -= len(channel.output)
        channel.output.clear()
        channel.ending = False
        self._grants.pop(channel.channel_id, None)
        # A peer that grants the connection nothing could otherwise park channel after channel here.
        self._parked.pop(channel.channel_id, None)

    def finish(self, last_frame: bytes | None) -> None:
        """The connection is over.

        Of all that waits only SETTINGS, if it never went out, and ``last_frame`` are left.
        """
        settings = [frame for frame in self._first if frame[0] == FrameType.SETTINGS]
        self._first = deque(settings + ([last_frame] if last_frame else []))
        for queue in (self._control, self._interactive, self._bulk, self._parked, self._grants):
            queue.clear()
        self.queued = self.reply_bytes = 0
        self._started = False

    @property
    def has_data(self) -> bool:
        """``data_to_send`` would return something now, or would tidy up after a channel that is over."""
        if self._first:
            return True
        return self._started and bool(self._control or self._grants or self._interactive or self._bulk)

    def data_to_send(self, max_bytes: int) -> bytes:
        """Take up to ``max_bytes`` of whole frames, ``b""`` when there is nothing."""
        return b"".join(self.parts_to_send(max_bytes))

    def parts_to_send(self, max_bytes: int) -> list[Chunk]:
        """As ``data_to_send``, in parts that follow each other; nothing large is copied."""
        if max_bytes < SMALLEST_BATCH:
            raise ValueError(f"max_bytes must be at least {SMALLEST_BATCH}")
        parts: list[Chunk] = []
        room = self._take_control(parts, max_bytes)
        if self._started and room >= LEAST_ROOM:
            leave = min(room, max_bytes // 2) if self._bulk else 0
            room = self._take_channels(self._interactive, parts, room, leave)
            room = self._take_channels(self._bulk, parts, room, 0)
            # What bulk leaves, small writes may have as well.
            self._take_channels(self._interactive, parts, room, 0)
        return parts

    def _take_control(self, parts: list[Chunk], room: int) -> int:
        while self._first and len(self._first[0]) <= room:
            frame = self._first.popleft()
            parts.append(frame)
            room -= len(frame)
        if not self._started or self._first:
            return room
        while self._control:
            if len(self._control[0]) > room:
                return 0
            frame = self._control.popleft()
            if frame[0] != FrameType.OPEN:
                self.reply_bytes -= len(frame)
            parts.append(frame)
            room -= len(frame)
        while self._grants and room >= LEAST_ROOM:
            channel_id, credit = self._grants.popitem()
            parts.append(encode_number(FrameType.WINDOW, channel_id, credit, 4))
            room -= HEADER_SIZE + 4
        return room

    def _take_channels(self, queue: deque[Channel], parts: list[Chunk], room: int, leave: int) -> int:
        """One turn after the other from ``queue`` until no more than ``leave`` bytes of room are left."""
        least = max(leave, LEAST_ROOM)
        while queue and room >= least:
            channel = queue.popleft()
            if queue is self._interactive and len(channel.output) > INTERACTIVE:
                self._bulk.append(channel)
                continue
            room -= self._take_turn(channel, parts, room)
        return room

    def _take_turn(self, channel: Channel, parts: list[Chunk], room: int) -> int:
        """One DATA frame of ``channel``, and its EOF when nothing follows; the bytes that takes."""
        channel.scheduled = False
        used = 0
        # Two headers: this frame's, and an EOF's.
        room -= 2 * HEADER_SIZE
        count = min(len(channel.output), channel.send_credit, self.credit, self._max_frame, room)
        if count:
            parts.append(FRAME_HEADER.pack(FrameType.DATA << 24 | count, channel.channel_id))
            channel.output.take_into(parts, count)
            channel.send_credit -= count
            self.credit -= count
            self.queued -= count
            used = HEADER_SIZE + count
            if channel.blocked and len(channel.output) <= self._limits.channel_send_buffer // 2:
                channel.blocked = False
                self._space_made(channel)
        if len(channel.output):
            self._again(channel)
        elif channel.ending:
            channel.ending = False
            parts.append(encode_frame(FrameType.EOF, channel.channel_id))
            used += HEADER_SIZE
            self._eof_sent(channel)
        return used

    def _again(self, channel: Channel) -> None:
        """Put a channel that has more to send where it belongs."""
        if not channel.send_credit:
            return
        channel.scheduled = True
        if self.credit:
            self._bulk.append(channel)
        else:
            self._parked[channel.channel_id] = channel
