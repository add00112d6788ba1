# SPDX-License-Identifier: Apache-2.0
"""Values and bytes of the mux protocol."""

from collections.abc import Iterator

from hypothesis import strategies as st

from mezite.core.mux.connection import ChannelHeader, MuxLimits
from mezite.core.mux.frames import FrameType, encode_frame

__all__ = ["SMALL_LIMITS", "channel_headers", "cut", "cuts", "frames", "wire"]

SMALL_LIMITS = MuxLimits(
    max_frame=4096,
    max_channels=4,
    accept_backlog=2,
    channel_window=4096,
    channel_window_max=16384,
    connection_window=16384,
    window_growth=8192,
    channel_send_buffer=8192,
    connection_send_buffer=65536,
    send_buffer_floor=1024,
    reply_buffer=4096,
)
"""Everything so small that a test runs into each bound."""

line = st.text(st.characters(codec="utf-8"), max_size=12).filter(str.isprintable)


def channel_headers() -> st.SearchStrategy[ChannelHeader]:
    """Headers that can be sent."""
    return st.builds(
        ChannelHeader,
        kind=line.filter(bool),
        target=line,
        user=line,
        client_address=line,
        trace_id=line,
        deadline_ms=st.integers(0, 2**32 - 1),
        hops=st.integers(0, 255),
        attributes=st.dictionaries(
            line.filter(bool), st.text(st.characters(codec="utf-8"), max_size=12), max_size=3
        ),
    )


def frames() -> st.SearchStrategy[bytes]:
    """Single frames, mostly of existing types on a few low ids, with payloads of a likely length or any."""
    kinds = st.sampled_from(list(FrameType)) | st.integers(0, 255)
    ids = st.integers(0, 9) | st.integers(0, 2**32 - 1)
    payloads = st.one_of(
        st.just(b""),
        st.binary(min_size=4, max_size=4),
        st.binary(min_size=8, max_size=8),
        st.binary(max_size=300),
        st.just(bytes(4096)),
        st.just(b"\x01\x00\x01k"),
    )
    return st.builds(encode_frame, kinds, ids, payloads)


def wire() -> st.SearchStrategy[bytes]:
    """A stretch of a connection's bytes: frames, sometimes with rubbish between them."""
    return st.lists(frames() | frames() | frames() | st.binary(max_size=20), max_size=30).map(b"".join)


def cuts() -> st.SearchStrategy[list[int]]:
    """Sizes of successive portions; see ``cut``."""
    return st.lists(st.integers(1, 40), min_size=1, max_size=20)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """``data`` in portions of ``sizes``, over and over."""
    position = 0
    while position < len(data):
        for size in sizes:
            if position < len(data):
                yield data[position : position + size]
            position += size
