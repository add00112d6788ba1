# SPDX-License-Identifier: Apache-2.0
"""Peers for the HTTP/2 tests: one that speaks in single frames, and one that speaks through h2."""

import contextlib

import h2.config
import h2.connection
import h2.events
import hpack
import trio
from hyperframe.frame import Frame, HeadersFrame, SettingsFrame
from trio.testing import memory_stream_pair

from mezite.net.http2_frame_gate import CONNECTION_PREFACE
from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_server import Http2ServerConnection

REQUEST = [
    (b":method", b"POST"),
    (b":scheme", b"https"),
    (b":path", b"/s.S/M"),
    (b":authority", b"hub"),
]


class FramePeer:
    """Sends frames as they are, and takes apart what comes back."""

    def __init__(self, stream):
        self.stream = stream
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()
        self._buffer = b""

    async def start(self, settings=None):
        await self.stream.send_all(CONNECTION_PREFACE)
        await self.send(SettingsFrame(0, settings=settings or {}))

    async def send(self, *frames):
        await self.stream.send_all(b"".join(frame.serialize() for frame in frames))

    async def request(self, stream_id, fields=None, *flags):
        frame = HeadersFrame(
            stream_id, data=self.encoder.encode(fields or REQUEST), flags=["END_HEADERS", *flags]
        )
        await self.send(frame)

    async def receive(self):
        """The next frame; None at the end of the connection."""
        while True:
            if len(self._buffer) >= 9:
                frame, length = Frame.parse_frame_header(memoryview(self._buffer[:9]))
                if len(self._buffer) >= 9 + length:
                    frame.parse_body(memoryview(self._buffer[9 : 9 + length]))
                    self._buffer = self._buffer[9 + length :]
                    return frame
            data = await self.stream.receive_some()
            if not data:
                return None
            self._buffer += bytes(data)

    async def receive_a(self, kind, **fields):
        """The next frame of that class with those attributes; fails when the connection ends."""
        while (frame := await self.receive()) is not None:
            if isinstance(frame, kind) and all(
                getattr(frame, name) == value for name, value in fields.items()
            ):
                return frame
        raise AssertionError(f"the connection ended without {kind.__name__} {fields}")

    async def rest(self):
        """All frames until the connection ends."""
        frames = []
        while (frame := await self.receive()) is not None:
            frames.append(frame)
        return frames


class H2Peer:
    """An HTTP/2 client made of h2 and nothing else; ``events`` holds what came."""

    def __init__(self, stream, *, client_side=True):
        self.stream = stream
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client_side, header_encoding=None)
        )
        self.h2.initiate_connection()
        self.events = []

    async def flush(self):
        await self.stream.send_all(self.h2.data_to_send())

    async def receive(self):
        """Take what comes; False at the end of the connection."""
        data = await self.stream.receive_some()
        if data:
            self.events += self.h2.receive_data(bytes(data))
            await self.flush()
        return bool(data)

    async def wait_for(self, kind, **fields):
        """The first event of that class with those attributes."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and all(
                    getattr(event, name) == value for name, value in fields.items()
                ):
                    return event
            if not await self.receive():
                raise AssertionError(f"the connection ended without {kind.__name__}")

    def open(self, fields=None, *, end_stream=False):
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, fields or REQUEST, end_stream=end_stream)
        return stream_id


@contextlib.asynccontextmanager
async def serving(handler, limits=None):
    """A server on one end of a memory stream; yields the other end and the server, cancelled at the end."""
    ours, theirs = memory_stream_pair()
    server = Http2ServerConnection(theirs, handler, limits or Http2Limits())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield ours, server
        nursery.cancel_scope.cancel()
