# SPDX-License-Identifier: Apache-2.0
"""Every byte that docs/mux-protocol.md shows, and what happens to text."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_mux_frames import check
from mezite.core.errors import RemoteProtocolError
from mezite.core.mux import frames
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.frames import (
    FrameType,
    decode_goaway,
    decode_reason,
    encode_frame,
    encode_goaway,
    encode_number,
    encode_reason,
)
from mezite.core.mux.header import ChannelHeader, encode_header
from mezite.core.mux.limits import MuxLimits
from mezite.core.mux.settings import encode_settings
from mezite.testing.strategies.mux import wire

SPEC = (Path(__file__).parents[3] / "docs" / "mux-protocol.md").read_text(encoding="utf-8")
EXAMPLES = {
    name: bytes.fromhex(text) for name, text in re.findall(r"```hex ([a-z-]+)\n(.*?)```", SPEC, re.DOTALL)
}
DB_1 = ChannelHeader(
    kind="ssh", target="db-1", user="ann", client_address="192.0.2.7:50000", deadline_ms=15_000, hops=1
)


def encoded() -> dict[str, bytes]:
    """Ours, by the names of the examples; made when a test runs, where a fault in the code makes it fail."""
    return {
        "settings": encode_settings(MuxLimits()),
        "open": encode_frame(FrameType.OPEN, 1, encode_header(DB_1)),
        "open-attribute": encode_frame(
            FrameType.OPEN, 1, encode_header(ChannelHeader(kind="ssh", attributes={"login": "root"}))
        ),
        "accept": encode_frame(FrameType.ACCEPT, 1),
        "reject": encode_reason(FrameType.REJECT, 1, ErrorCode.NOT_FOUND, "no such node"),
        "data": encode_frame(FrameType.DATA, 1, b"hello"),
        "eof": encode_frame(FrameType.EOF, 1),
        "reset": encode_reason(FrameType.RESET, 1, ErrorCode.CANCELLED, ""),
        "window": encode_number(FrameType.WINDOW, 0, 65536, 4),
        "ping": encode_number(FrameType.PING, 0, 7, 8),
        "pong": encode_number(FrameType.PONG, 0, 7, 8),
        "goaway": encode_goaway(5, 30_000, ErrorCode.DRAINING, "restart"),
    }


def test_every_example_of_the_spec_has_a_counterpart() -> None:
    assert EXAMPLES.keys() == encoded().keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_of_the_spec(name: str) -> None:
    assert encoded()[name].hex() == EXAMPLES[name].hex()


def test_frame_table_of_the_spec() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \| [^|]+ \| (\d+)\u2013(\d+|max frame) \|", SPEC, re.MULTILINE)
    assert {(int(kind), name) for kind, name, _, _ in rows} == {(kind, kind.name) for kind in FrameType}
    for kind, _, shortest, longest in rows:
        wanted = (int(shortest), 0 if longest == "max frame" else int(longest))
        assert frames.PAYLOAD_LENGTHS[int(kind)] == wanted


def test_text_is_made_printable_and_cut_between_characters() -> None:
    frame = encode_reason(FrameType.RESET, 1, 1, "a\nb\x1b[0m" + "é" * 300)
    code, text = decode_reason(frame[8:])
    assert code is ErrorCode.PROTOCOL_ERROR
    assert text.startswith("a?b?[0mé")
    assert len(text.encode()) == 255
    assert len(frame) == 8 + 2 + 255


@pytest.mark.parametrize(
    ("text", "why"),
    [(b"\xff", "UTF-8"), (b"two\nlines", "printable"), (b"\x1b[2J", "printable")],
)
def test_text_that_could_forge_a_line_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(RemoteProtocolError, match=f"^text is not {why}$") as caught:
        decode_reason(b"\0\1" + text)
    assert caught.value.code == ErrorCode.FRAME_ERROR
    with pytest.raises(RemoteProtocolError, match=f"^text is not {why}$"):
        decode_goaway(bytes(10) + text)


def test_goaway_values_come_back() -> None:
    assert decode_goaway(EXAMPLES["goaway"][8:]) == (5, 30_000, ErrorCode.DRAINING, "restart")


@given(st.binary(max_size=200) | wire())
def test_fuzz_claim(data: bytes) -> None:
    check(data)
