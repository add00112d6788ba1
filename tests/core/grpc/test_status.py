# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.grpc.status import (
    MAX_MESSAGE_CHARACTERS,
    Status,
    StatusCode,
    decode_message,
    encode_message,
    status_from_http_status,
    status_from_reset,
    status_from_trailers,
    status_trailers,
)


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("", b""),
        ("plain text", b"plain text"),
        ("50 % off", b"50 %25 off"),
        ("nœud", b"n%C5%93ud"),
        ("a\r\nb", b"a%0D%0Ab"),
        ("\x7f", b"%7F"),
        ("\ud800", b"?"),
    ],
)
def test_encode_message(text, wire):
    assert encode_message(text) == wire


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=MAX_MESSAGE_CHARACTERS))
def test_message_round_trip(text):
    wire = encode_message(text)
    assert decode_message(wire) == text
    assert all(0x20 <= byte <= 0x7E for byte in wire)


def test_a_long_message_is_cut():
    """D15: no text of ours fills a peer's header block."""
    assert len(encode_message("x" * 100_000)) == MAX_MESSAGE_CHARACTERS


@pytest.mark.parametrize(
    ("wire", "text"),
    [(b"%", "%"), (b"%4", "%4"), (b"%zz", "%zz"), (b"100%", "100%"), (b"%41%2", "A%2"), (b"%FF", "\ufffd")],
)
def test_broken_escapes_do_not_lose_the_text(wire, text):
    assert decode_message(wire) == text


@given(st.binary(max_size=200))
def test_decode_message_never_fails(wire):
    assert isinstance(decode_message(wire), str)


@given(st.sampled_from(StatusCode), st.text(st.characters(exclude_categories=["Cs"]), max_size=80))
def test_trailers_round_trip(code, text):
    assert status_from_trailers(status_trailers(Status(code, text))) == Status(code, text)


def test_no_message_field_for_an_empty_message():
    assert status_trailers(Status(StatusCode.OK)) == [(b"grpc-status", b"0")]


def test_trailers_without_a_status():
    assert status_from_trailers([(b"x", b"y")]) is None


@pytest.mark.parametrize("raw", [b"", b"-1", b"17", b"99", b"1_0", b" 5", b"005", "٣".encode()])
def test_unknown_codes_read_as_unknown(raw):
    assert status_from_trailers([(b"grpc-status", raw)]) == Status(StatusCode.UNKNOWN)


def test_http_statuses():
    assert status_from_http_status(b"503").code is StatusCode.UNAVAILABLE
    assert status_from_http_status(b"404").code is StatusCode.UNIMPLEMENTED
    strange = status_from_http_status(b"2\xff0")
    assert strange.code is StatusCode.UNKNOWN
    assert "2\ufffd0" in strange.message


def test_reset_codes():
    assert status_from_reset(0x7).code is StatusCode.UNAVAILABLE
    assert status_from_reset(0x8).code is StatusCode.CANCELLED
    assert status_from_reset(0xB).code is StatusCode.RESOURCE_EXHAUSTED
    assert status_from_reset(0xC).code is StatusCode.PERMISSION_DENIED
    assert status_from_reset(0x1) == Status(
        StatusCode.INTERNAL, "the other side reset the call (HTTP/2 error 1)"
    )
