# SPDX-License-Identifier: Apache-2.0
"""D12: whoever floods a connection loses it within a thousand frames, and costs us next to nothing."""

import time
import tracemalloc

import hpack
import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import wait_all_tasks_blocked

from mezite.net.http2_limits import DEFAULT_FRAME_RATES, FrameKind, Http2Limits, Rate
from tests.net.http2_peers import REQUEST, FramePeer, serving

MOST_FRAMES = 1000
PATIENT = Http2Limits(frame_rates={**DEFAULT_FRAME_RATES, FrameKind.RESET: Rate(10_000, 0)})


async def hang(_head, _stream):
    await trio.sleep_forever()


class Flooder:
    """Makes one frame after the other of each kind of flood."""

    def __init__(self):
        self.encoder = hpack.Encoder()
        self.streams = 1

    def headers(self, fields=REQUEST, flags=("END_HEADERS",)):
        self.streams += 2
        return HeadersFrame(self.streams, data=self.encoder.encode(fields), flags=list(flags))

    def rapid_reset(self):
        """CVE-2023-44487: every stream is cancelled as soon as it is open."""
        while True:
            yield self.headers()
            yield RstStreamFrame(self.streams, error_code=ErrorCodes.CANCEL)

    def made_to_reset(self):
        """CVE-2025-8671: frames that make the server do the resetting."""
        while True:
            yield self.headers(flags=("END_HEADERS", "END_STREAM"))
            yield DataFrame(self.streams, data=b"behind the end")

    def refused(self):
        """Requests that are answered without a handler."""
        while True:
            yield self.headers([*REQUEST[:2], (b":path", b"//"), REQUEST[3]])

    def continuation(self):
        yield self.headers(flags=())
        while True:
            yield ContinuationFrame(self.streams, data=b"\x82")

    def empty_continuation(self):
        yield self.headers(flags=())
        while True:
            yield ContinuationFrame(self.streams)

    def settings(self):
        while True:
            yield SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 1000})

    def large_settings(self):
        while True:
            yield SettingsFrame(0, settings={4096 + number: 1 for number in range(2000)})

    def settings_ack(self):
        while True:
            yield SettingsFrame(0, flags=["ACK"])

    def ping(self):
        while True:
            yield PingFrame(0, opaque_data=b"12345678")

    def ping_ack(self):
        while True:
            yield PingFrame(0, opaque_data=b"12345678", flags=["ACK"])

    def empty_data(self):
        yield self.headers()
        while True:
            yield DataFrame(self.streams)

    def padding(self):
        yield self.headers()
        while True:
            yield DataFrame(self.streams, flags=["PADDED"], pad_length=200)

    def priority(self):
        while True:
            yield PriorityFrame(1, depends_on=3, stream_weight=7)

    def unknown(self):
        while True:
            yield ExtensionFrame(0xFA, 0)

    def goaway(self):
        while True:
            yield GoAwayFrame(0, last_stream_id=0)

    def streams_without_end(self):
        while True:
            yield self.headers()

    def header_bomb(self):
        """One large value in the table, then a reference to it in every byte."""
        yield self.headers([*REQUEST, (b"bomb", b"x" * 4000)])
        reference = self.encoder.encode([*REQUEST, (b"bomb", b"x" * 4000)])
        while True:
            self.streams += 2
            yield HeadersFrame(self.streams, data=reference + b"\xbe" * 8000, flags=["END_HEADERS"])

    def header_bomb_in_pieces(self):
        """The same, behind HEADERS that say nothing, in CONTINUATION frames."""
        yield self.headers([*REQUEST, (b"bomb", b"x" * 4000)])
        self.streams += 2
        yield HeadersFrame(self.streams, data=b"")
        while True:
            yield ContinuationFrame(self.streams, data=b"\xbe" * 3000)

    def many_fields(self):
        """CVE-2019-9516 and cookies in crumbs: fields of nothing, each of which costs memory."""
        while True:
            yield self.headers([*REQUEST, *[(b"a", b"")] * 900])

    def announced_bodies(self):
        """Requests that end without the body they announced: we do the resetting."""
        while True:
            yield self.headers([*REQUEST, (b"content-length", b"5")], ("END_HEADERS", "END_STREAM"))

    def window_update_of_the_connection(self):
        while True:
            yield WindowUpdateFrame(0, window_increment=1)

    def window_update_of_a_stream(self):
        yield self.headers()
        while True:
            yield WindowUpdateFrame(self.streams, window_increment=1)

    def window_update_of_closed_streams(self):
        yield self.headers()
        yield RstStreamFrame(self.streams, error_code=ErrorCodes.CANCEL)
        while True:
            yield WindowUpdateFrame(self.streams, window_increment=1)

    def window_overflow(self):
        yield self.headers()
        while True:
            yield WindowUpdateFrame(self.streams, window_increment=2**31 - 1)

    def window_shaking(self):
        """CVE-2019-9511's cousin: every stream's window changes with the setting."""
        for _ in range(90):
            yield self.headers()
        while True:
            yield SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 0})
            yield SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 65_535})

    def table_shaking(self):
        """Each makes our encoder empty its table and say so."""
        while True:
            yield SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 0})
            yield SettingsFrame(0, settings={SettingsFrame.HEADER_TABLE_SIZE: 2**31})


FLOODS = [name for name in vars(Flooder) if not name.startswith("_") and name != "headers"]


async def flood(name, memory=None):
    """How many frames were sent until the connection was closed on us, and what the server said last."""
    sent = 0
    async with serving(hang) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await wait_all_tasks_blocked()
        if memory is not None:
            tracemalloc.start()
        try:
            for frame in getattr(Flooder(), name)():
                await peer.send(frame)
                sent += 1
                if sent % 20 == 0:
                    await wait_all_tasks_blocked()
                if sent > 3 * MOST_FRAMES:
                    break
        except trio.BrokenResourceError:
            pass
        if memory is not None:
            memory.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        frames = await peer.rest() if sent <= 3 * MOST_FRAMES else []
    return sent, frames


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_ends_its_connection(name):
    before = time.process_time()
    sent, frames = await flood(name)
    spent = time.process_time() - before
    assert sent <= MOST_FRAMES
    goaways = [frame.error_code for frame in frames if isinstance(frame, GoAwayFrame)]
    assert goaways or name == "goaway"
    assert ErrorCodes.NO_ERROR not in goaways
    assert spent < 1.0  # a fifth of it on an idle core, the flooder included


@pytest.mark.parametrize("name", ["rapid_reset", "header_bomb", "ping", "settings", "empty_continuation"])
async def test_a_flood_leaves_memory_flat(name):
    peaks = []
    await flood(name, peaks)
    assert peaks[0] < 4 * 1024 * 1024


async def test_header_fields_are_counted():
    async with serving(hang) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1, [*REQUEST, *[(b"a", b"b")] * 97], "END_STREAM")
        answer = await peer.receive_a(HeadersFrame)
        assert dict(peer.decoder.decode(answer.data))[":status"] == "431"


async def test_handlers_of_reset_streams_are_bounded_too():
    """Rapid reset against handlers slow to notice: a hundred run, no more."""
    release = trio.Event()
    running = most = 0

    async def stubborn(_head, _stream):
        nonlocal running, most
        running += 1
        most = max(most, running)
        with trio.CancelScope(shield=True):
            await release.wait()
        running -= 1

    async with serving(stubborn, PATIENT) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        try:
            for number in range(300):
                await peer.request(2 * number + 1)
                await peer.send(RstStreamFrame(2 * number + 1, error_code=ErrorCodes.CANCEL))
                await wait_all_tasks_blocked()
            assert most == 100
            # What waits is open, and more than a hundred open streams end the connection.
            for number in range(300, 401):
                await peer.request(2 * number + 1)
            assert isinstance((await peer.rest())[-1], GoAwayFrame)
            assert most == 100
        finally:
            release.set()


async def test_requests_that_wait_are_served_when_there_is_room():
    release = trio.Event()
    served = []

    async def handler(head, stream):
        if head.path == "/slow":
            with trio.CancelScope(shield=True):
                await release.wait()
        served.append(head.path)
        stream.send_headers([(b":status", b"200")], end_stream=True)

    async with serving(handler, PATIENT) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        slow = [*REQUEST[:2], (b":path", b"/slow"), REQUEST[3]]
        for number in range(100):
            await peer.request(2 * number + 1, slow)
        for number in range(100):
            await peer.send(RstStreamFrame(2 * number + 1, error_code=ErrorCodes.CANCEL))
        for number in range(100, 110):
            await peer.request(2 * number + 1, None, "END_STREAM")
        await peer.send(RstStreamFrame(219, error_code=ErrorCodes.CANCEL))
        await wait_all_tasks_blocked()
        assert served == []
        release.set()
        for _ in range(9):
            await peer.receive_a(HeadersFrame)
        assert served.count("/s.S/M") == 9
