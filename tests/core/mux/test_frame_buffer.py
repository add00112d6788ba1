# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux import frame_buffer
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.frame_buffer import FrameBuffer
from mezite.core.mux.frames import FrameType, encode_frame
from mezite.testing.strategies.mux import cut, cuts

DATA = encode_frame(FrameType.DATA, 1, b"hello")
EOF = encode_frame(FrameType.EOF, 1)


def frames_of(buffer: FrameBuffer) -> list[tuple[int, int, bytes]]:
    return list(iter(buffer.next_frame, None))


def test_frames_that_came_together() -> None:
    buffer = FrameBuffer(100)
    buffer.feed(bytearray(DATA + EOF + DATA[:3]))
    assert frames_of(buffer) == [(4, 1, b"hello"), (5, 1, b"")]
    assert buffer.pending
    buffer.feed(DATA[3:])
    assert frames_of(buffer) == [(4, 1, b"hello")]
    assert not buffer.pending


def test_portions_fed_before_frames_are_taken() -> None:
    buffer = FrameBuffer(100)
    buffer.feed(DATA)
    assert buffer.next_frame() == (4, 1, b"hello")
    buffer.feed(DATA[:9])
    buffer.feed(DATA[9:] + EOF)
    assert frames_of(buffer) == [(4, 1, b"hello"), (5, 1, b"")]


@given(st.lists(st.binary(min_size=1, max_size=60)), cuts())
def test_how_the_bytes_are_cut_changes_nothing(payloads: list[bytes], sizes: list[int]) -> None:
    buffer = FrameBuffer(60)
    found = []
    for portion in cut(b"".join(encode_frame(4, 3, payload) for payload in payloads), sizes):
        buffer.feed(portion)
        found += frames_of(buffer)
    assert found == [(4, 3, payload) for payload in payloads]
    assert not buffer.pending


@given(st.lists(st.integers(1, 3 * frame_buffer.EARLY_BYTES), min_size=1, max_size=5), st.data())
def test_large_payloads_come_as_they_arrive(lengths: list[int], data: st.DataObject) -> None:
    frames = [encode_frame(4, channel, bytes([channel]) * length) for channel, length in enumerate(lengths)]
    whole = b"".join(frames) + EOF
    at = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    buffer = FrameBuffer(3 * frame_buffer.EARLY_BYTES)
    found = [0] * len(lengths)
    last = None
    for start, end in itertools.pairwise([0, *at, len(whole)]):
        buffer.feed(whole[start:end])
        for kind, channel, payload in frames_of(buffer):
            last = kind, channel
            if kind == FrameType.DATA:
                assert payload == bytes([channel]) * len(payload)
                assert found[:channel] == lengths[:channel]
                found[channel] += len(payload)
    assert found == lengths
    assert last == (FrameType.EOF, 1)
    assert not buffer.pending


def test_the_beginning_of_a_large_payload_does_not_wait_for_its_end() -> None:
    size = frame_buffer.EARLY_BYTES
    frame = encode_frame(FrameType.DATA, 7, b"a" * size + b"b")
    buffer = FrameBuffer(2 * size)
    buffer.feed(frame[:-1])
    assert frames_of(buffer) == [(4, 7, b"a" * size)]
    assert buffer.pending
    buffer.feed(b"")
    assert frames_of(buffer) == []
    buffer.feed(frame[-1:] + EOF)
    assert frames_of(buffer) == [(4, 7, b"b"), (5, 1, b"")]
    assert not buffer.pending


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("00000000 00000001", ErrorCode.FRAME_ERROR),
        ("0c000000 00000001", ErrorCode.FRAME_ERROR),
        ("ff000000 00000001", ErrorCode.FRAME_ERROR),
        ("04000000 00000001", ErrorCode.FRAME_ERROR),
        ("07000003 00000001", ErrorCode.FRAME_ERROR),
        ("05000000 80000001", ErrorCode.FRAME_ERROR),
        ("04000065 00000001", ErrorCode.FRAME_TOO_LARGE),
        ("04ffffff 00000001", ErrorCode.FRAME_TOO_LARGE),
        ("01001001 00000001", ErrorCode.FRAME_TOO_LARGE),
        ("05000001 00000001", ErrorCode.FRAME_TOO_LARGE),
    ],
)
def test_the_header_alone_decides_a6(header: str, code: ErrorCode) -> None:
    """No payload is waited for, let alone stored."""
    for sizes in ([8], [1]):
        buffer = FrameBuffer(100)
        with pytest.raises(RemoteProtocolError) as caught:
            feed_all(buffer, bytes.fromhex(header), sizes)
        assert caught.value.code == code


def feed_all(buffer: FrameBuffer, data: bytes, sizes: list[int]) -> None:
    for portion in cut(data, sizes):
        buffer.feed(portion)
        assert buffer.next_frame() is None


def test_a_driver_that_never_takes_frames_is_stopped() -> None:
    buffer = FrameBuffer(100)
    buffer.feed(bytes(frame_buffer.UNDRAINED_LIMIT))
    with pytest.raises(LocalProtocolError):
        buffer.feed(b"x")


def test_payloads_do_not_keep_the_read_alive_b9() -> None:
    buffer = FrameBuffer(100)
    buffer.feed(DATA)
    frame = buffer.next_frame()
    assert frame is not None
    assert type(frame[2]) is bytes
