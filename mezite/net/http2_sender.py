# SPDX-License-Identifier: Apache-2.0
"""Which stream's data goes out next: round robin, as far as the peer's windows allow."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import h2.connection
import h2.errors
import h2.events

from mezite.net.http2_stream import Http2Stream

__all__ = ["Http2Sender"]

LARGEST_ENCODER_TABLE = 4096
"""Of HPACK's dynamic table, whatever the peer allows: it is our memory (the HTTP/2 default)."""
SMALL_FRAME = 1024


class Http2Sender:
    """Turns what streams have queued into frames inside h2.

    ``on_output`` is called when there is something to make frames of, ``on_frame`` for each DATA frame that the
    peer's window did not make small, ``on_end`` with each stream whose last frame was made.
    """

    def __init__(
        self,
        connection: h2.connection.H2Connection,
        *,
        on_output: Callable[[], None],
        on_frame: Callable[[], None],
        on_end: Callable[[Http2Stream], None],
    ) -> None:
        self._h2 = connection
        self._on_output = on_output
        self._on_frame = on_frame
        self._on_end = on_end
        self._ready: deque[Http2Stream] = deque()
        self._queued: set[Http2Stream] = set()
        self._blocked: dict[int, Http2Stream] = {}

    def queue(self, stream: Http2Stream) -> None:
        """The stream has something to send."""
        if stream not in self._queued and stream.stream_id not in self._blocked:
            self._queued.add(stream)
            self._ready.append(stream)
            self._on_output()

    def forget(self, stream: Http2Stream) -> None:
        """The stream is over."""
        self._blocked.pop(stream.stream_id, None)

    def fill(self, room: int) -> None:
        """Make frames of about ``room`` bytes at most, a frame a stream in turn."""
        while self._ready and room > 0:
            stream = self._ready.popleft()
            self._queued.discard(stream)
            room -= self._send_frame(stream)
            if stream.outbound:
                self.queue(stream)

    def window_updated(self, event: h2.events.WindowUpdated) -> None:
        """The peer opened a window."""
        if event.stream_id:
            stream = self._blocked.pop(event.stream_id, None)
            if stream is not None:
                self.queue(stream)
        else:
            self._unblock_all()

    def settings_changed(self, _event: h2.events.RemoteSettingsChanged | None = None) -> None:
        """The peer's settings may have opened every window, and may ask for more of our memory."""
        self._h2.encoder.header_table_size = min(self._h2.encoder.header_table_size, LARGEST_ENCODER_TABLE)
        self._unblock_all()

    def _unblock_all(self) -> None:
        streams, self._blocked = self._blocked, {}
        for stream in streams.values():
            self.queue(stream)

    def _send_frame(self, stream: Http2Stream) -> int:
        if stream.failure is not None:
            return 0
        size = 0
        if stream.outbound:
            window = self._h2.local_flow_control_window(stream.stream_id)
            size = min(window, self._h2.max_outbound_frame_size, len(stream.outbound))
            if size <= 0:
                self._blocked[stream.stream_id] = stream
                return 0
            last = stream.local_ended and stream.trailers is None and size == len(stream.outbound)
            self._h2.send_data(stream.stream_id, bytes(stream.outbound[:size]), end_stream=last)
            del stream.outbound[:size]
            stream.note_room()
            if not stream.outbound or size >= SMALL_FRAME:
                self._on_frame()
            if last:
                self._on_end(stream)
                return size
        if stream.local_ended and not stream.outbound:
            self._end(stream)
        return size

    def _end(self, stream: Http2Stream) -> None:
        if stream.trailers is None:
            self._h2.end_stream(stream.stream_id)
        else:
            self._h2.send_headers(stream.stream_id, stream.trailers, end_stream=True)
        self._on_end(stream)
