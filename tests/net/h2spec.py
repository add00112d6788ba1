# SPDX-License-Identifier: Apache-2.0
"""What a row of the conformance tables is, and how it is played against our HTTP/2 server.

A row names its section, says what a client sends behind its preface, and what has to come of it. Blocks of fields are
encoded with a fresh encoder each, so that rows do not hang together.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import hpack
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)
from trio.testing import wait_all_tasks_blocked

from mezite.net.http2_frame_gate import CONNECTION_PREFACE
from mezite.net.http2_request import RequestHead
from mezite.net.http2_stream import Http2Stream
from tests.net.http2_peers import FramePeer, serving

GET = [(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/"), (b":authority", b"hub")]
POST = [(b":method", b"POST"), *GET[1:]]
BODY = b"the answer"
TOKEN = b"are you?"
WHOLE = ("END_HEADERS", "END_STREAM")
OPEN = ("END_HEADERS",)


class Pause:
    """In a row: what was sent has its effect first."""


PAUSE = Pause()


@attrs.frozen
class Goaway:
    """The connection ends with one of these codes."""

    codes: tuple[ErrorCodes, ...]


@attrs.frozen
class Broken:
    """The stream is reset with one of these codes, or the connection ends with it (RFC 9113 section 5.4.2 leaves the
    choice)."""

    codes: tuple[ErrorCodes, ...]
    stream: int = 1


@attrs.frozen
class Answered:
    """The request is answered, with that body, and the connection lives."""

    status: str = "200"
    stream: int = 1
    body: bytes | None = BODY
    last: bool = False
    """The connection has served its purpose with it."""


@attrs.frozen
class Alive:
    """Nothing breaks, and a PING is answered; ``body`` is all the data that came."""

    body: bytes | None = None


Outcome = Goaway | Broken | Answered | Alive
Item = Frame | bytes | Pause


@attrs.frozen
class Case:
    """One row."""

    section: str
    name: str
    send: Sequence[Item]
    outcome: Outcome
    opening: bytes = CONNECTION_PREFACE + SettingsFrame(0).serialize()

    def __str__(self) -> str:
        return f"{self.section} {self.name}"


def goaway(*codes: str) -> Goaway:
    return Goaway(tuple(ErrorCodes[code] for code in codes))


def broken(*codes: str, stream: int = 1) -> Broken:
    return Broken(tuple(ErrorCodes[code] for code in codes), stream)


def block(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    return hpack.Encoder().encode(fields)


def headers(
    stream: int = 1,
    fields: Sequence[tuple[bytes, bytes]] | bytes = GET,
    flags: Sequence[str] = WHOLE,
    **more: object,
) -> HeadersFrame:
    data = fields if isinstance(fields, bytes) else block(fields)
    return HeadersFrame(stream, data=data, flags=list(flags), **more)


def raw(
    kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0, length: int | None = None
) -> bytes:
    """A frame as hyperframe would not write it."""
    size = len(payload) if length is None else length
    return size.to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


async def answer(head: RequestHead, stream: Http2Stream) -> None:
    """The server's handler: reads all of the request, then answers; at ``/unread`` it does neither."""
    if head.path == "/unread":
        await trio.sleep_forever()
    while await stream.receive_some():
        pass
    stream.send_headers([(b":status", b"200")])
    await stream.send_data(BODY)
    stream.end()


async def play(case: Case) -> list[Frame]:
    """Send what the row says; every frame that came back, until the end of the connection."""
    async with serving(answer) as (ours, _server):
        peer = FramePeer(ours)
        try:
            await ours.send_all(case.opening)
            await wait_all_tasks_blocked()
            for item in case.send:
                if isinstance(item, Pause):
                    await wait_all_tasks_blocked()
                else:
                    await ours.send_all(item if isinstance(item, bytes) else item.serialize())
            await wait_all_tasks_blocked()
            if not isinstance(case.outcome, Goaway):
                await peer.send(PingFrame(0, opaque_data=TOKEN))
                await wait_all_tasks_blocked()
                await ours.send_eof()
        except trio.BrokenResourceError:
            pass
        with trio.fail_after(5):
            return await peer.rest()


def check(case: Case, frames: Sequence[Frame]) -> None:
    """Whether the outcome is the one of the row."""
    assert isinstance(frames[0], SettingsFrame), "RFC 9113 section 3.4: the server begins with SETTINGS"
    ends = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
    resets = [frame for frame in frames if isinstance(frame, RstStreamFrame)]
    match case.outcome:
        case Goaway(codes):
            assert ends, frames
            assert ends[-1].error_code in codes, ends
        case Broken(codes, stream):
            assert {frame.error_code for frame in ends} <= set(codes), ends
            of_stream = {frame.error_code for frame in resets if frame.stream_id == stream}
            assert ends or of_stream, frames
            assert of_stream <= set(codes), resets
            assert ends or is_alive(frames)
        case Answered(status, stream, body, last):
            assert {frame.error_code for frame in ends} <= {ErrorCodes.NO_ERROR}, ends
            assert last or is_alive(frames)
            assert status_of(frames, stream) == status
            if body is not None:
                assert body_of(frames, stream) == body
        case Alive(body):
            assert not ends, ends
            assert not resets, resets
            assert is_alive(frames)
            if body is not None:
                assert body_of(frames, 1) == body


def is_alive(frames: Sequence[Frame]) -> bool:
    return any(
        isinstance(frame, PingFrame) and frame.opaque_data == TOKEN and "ACK" in frame.flags
        for frame in frames
    )


def status_of(frames: Sequence[Frame], stream: int) -> str | None:
    decoder = hpack.Decoder()
    decoder.max_allowed_table_size = 2**32 - 1
    for frame in frames:
        if isinstance(frame, HeadersFrame):
            fields = dict(decoder.decode(frame.data))
            if frame.stream_id == stream:
                return fields.get(":status")
    return None


def body_of(frames: Sequence[Frame], stream: int) -> bytes:
    return b"".join(
        frame.data for frame in frames if isinstance(frame, DataFrame) and frame.stream_id == stream
    )
