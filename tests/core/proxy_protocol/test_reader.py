# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import RemoteProtocolError
from mezite.core.proxy_protocol import v1, v2
from mezite.core.proxy_protocol.header import AddressFamily, Command, ProxyHeader
from mezite.core.proxy_protocol.reader import NEED_DATA, NO_HEADER, HeaderReader, ReaderState
from mezite.testing.strategies.proxy_protocol import addressed_headers

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "proxy_protocol.json").read_text())
GOOD = [vector for vector in VECTORS if "expect_error" not in vector]
BAD = [vector for vector in VECTORS if "expect_error" in vector]


def read(data: bytes, step: int | None = None) -> tuple[ProxyHeader | ReaderState | str, bytes]:
    """Feed `data`, whole or in steps, and return the answer and what is payload."""
    reader = HeaderReader()
    size = step or len(data) or 1
    answer: ProxyHeader | ReaderState | str = NEED_DATA
    for start in range(0, len(data), size):
        reader.receive_data(data[start : start + size])
        try:
            answer = reader.next_event()
        except RemoteProtocolError as error:
            answer = f"refused: {error}"
            with pytest.raises(RemoteProtocolError):
                reader.next_event()
            break
    return answer, reader.take_payload()


def ids(vectors: list[dict[str, object]]) -> list[str]:
    return [str(vector["name"]) for vector in vectors]


@pytest.mark.parametrize("step", [None, 1, 7])
@pytest.mark.parametrize("vector", GOOD, ids=ids(GOOD))
def test_what_real_producers_send(vector: dict[str, object], step: int | None) -> None:
    sent = bytes.fromhex(f"{vector['hex']}{vector['trailing_payload_hex']}")
    answer, payload = read(sent, step)
    assert isinstance(answer, ProxyHeader), answer
    assert answer.version == vector["version"]
    assert answer.command is Command[str(vector["command"])]
    assert payload.hex() == vector["trailing_payload_hex"]
    expected = vector["src"] if answer.command is Command.PROXY else None
    if expected is None:
        assert (answer.family, answer.source) == (AddressFamily.UNSPECIFIED, None)
    else:
        assert answer.source is not None
        assert [str(answer.source.address), answer.source.port] == expected
        assert answer.destination is not None
        assert [str(answer.destination.address), answer.destination.port] == vector["dst"]
        tlvs = [(tlv["type"], tlv["hex"]) for tlv in vector["tlvs"]]  # type: ignore[attr-defined]
        assert [(tlv.type, tlv.value.hex()) for tlv in answer.tlvs] == tlvs


@pytest.mark.parametrize("step", [None, 1])
@pytest.mark.parametrize("vector", BAD, ids=ids(BAD))
def test_what_nobody_should_send(vector: dict[str, object], step: int | None) -> None:
    """Threat C2. A line that ends in LF alone is refused at once rather than waited for."""
    answer, _payload = read(bytes.fromhex(str(vector["hex"])), step)
    assert isinstance(answer, str)


@pytest.mark.parametrize(
    "data", [b"SSH-2.0-x\r\n", b"\x16\x03\x01", b"GET / HTTP/1.1\r\n", b"PROXIES", b"P\r\n", b"\r\n\r\nx"]
)
@pytest.mark.parametrize("step", [None, 1])
def test_other_protocols_are_payload(data: bytes, step: int | None) -> None:
    assert read(data, step) == (NO_HEADER, data)


def test_nothing_is_nothing() -> None:
    reader = HeaderReader()
    assert reader.next_event() is NEED_DATA
    assert reader.take_payload() == b""


@pytest.mark.parametrize(
    "data", [b"P", b"PROXY TCP4 1.2", b"\r\n", v2.SIGNATURE, v2.SIGNATURE + b"\x21\x11\x00\x0c1234"]
)
def test_a_beginning_needs_more(data: bytes) -> None:
    answer, _ = read(data)
    assert answer is NEED_DATA


def test_a_line_without_an_end_is_refused_at_107_bytes() -> None:
    """Threat C4: a peer cannot make us wait for a line for ever, nor buffer it."""
    assert read(b"PROXY UNKNOWN".ljust(v1.MAX_LINE - 1))[0] is NEED_DATA
    assert isinstance(read(b"PROXY UNKNOWN".ljust(v1.MAX_LINE))[0], str)


def test_a_second_header_is_payload() -> None:
    """Threat C6."""
    first = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"
    answer, payload = read(first * 2)
    assert isinstance(answer, ProxyHeader)
    assert payload == first


def test_the_answer_repeats_and_later_bytes_are_payload() -> None:
    reader = HeaderReader()
    reader.receive_data(b"PROXY UNKNOWN\r\n")
    first = reader.next_event()
    reader.receive_data(b"abc")
    assert reader.next_event() is first
    assert reader.take_payload() == b"abc"
    reader.receive_data(b"def")
    assert reader.take_payload() == b"def"


@given(addressed_headers(version=2), st.binary(max_size=40), st.integers(1, 50))
def test_split_anywhere_is_the_same(header: ProxyHeader, payload: bytes, step: int) -> None:
    data = v2.serialize(header) + payload
    assert read(data) == read(data, step) == (header, payload)


@given(st.binary(max_size=200), st.integers(1, 50))
def test_garbage_split_anywhere_is_the_same(data: bytes, step: int) -> None:
    whole, stepped = read(data)[0], read(data, step)[0]
    assert whole == stepped
