# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import MAX_HEADER, ChannelHeader, decode_header, encode_header
from mezite.testing.strategies.mux import channel_headers


@given(channel_headers())
def test_a_header_comes_back(header: ChannelHeader) -> None:
    assert decode_header(encode_header(header)) == header


@given(channel_headers(), st.data())
def test_one_changed_byte_is_refused_or_means_something_else(
    header: ChannelHeader, data: st.DataObject
) -> None:
    encoded = bytearray(encode_header(header))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode_header(bytes(encoded))
    except RemoteProtocolError as error:
        assert error.code == ErrorCode.FRAME_ERROR
    else:
        assert decoded != header
        assert encode_header(decoded) == encoded


def test_attributes_cannot_be_changed() -> None:
    source = {"login": "root"}
    header = ChannelHeader(kind="ssh", attributes=source)
    source["login"] = "other"
    assert header.attributes["login"] == "root"
    assert isinstance(hash(header), int)


@pytest.mark.parametrize(
    "header",
    [
        ChannelHeader(kind=""),
        ChannelHeader(kind="two\nlines"),
        ChannelHeader(kind="k", user="\x1b"),
        ChannelHeader(kind="k", deadline_ms=2**32),
        ChannelHeader(kind="k", deadline_ms=-1),
        ChannelHeader(kind="k", hops=256),
        ChannelHeader(kind="k", attributes={"": "v"}),
        ChannelHeader(kind="k", attributes={"k" * 256: "v"}),
        ChannelHeader(kind="k", attributes={"a\0": "v"}),
        ChannelHeader(kind="k", target="t" * MAX_HEADER),
        ChannelHeader(kind="k", target="t" * 70_000),
    ],
)
def test_what_cannot_be_sent(header: ChannelHeader) -> None:
    with pytest.raises(LocalProtocolError):
        encode_header(header)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\1",
        b"\1\0",
        b"\1\0\2k",
        b"\2\0\1t",
        b"\1\0\0",
        b"\1\0\1k\2\0\0",
        b"\2\0\1t\1\0\1k",
        b"\1\0\1k\1\0\1k",
        b"\1\0\1k\x09\0\1x",
        b"\0\0\0\1\0\1k",
        b"\1\0\1\xff",
        b"\1\0\1\n",
        b"\1\0\1k\6\0\4\0\0\0\0",
        b"\1\0\1k\6\0\3\0\0\1",
        b"\1\0\1k\7\0\2\0\1",
        b"\1\0\1k\7\0\2\1\1",
        b"\1\0\1k\x08\0\0",
        b"\1\0\1k\x08\0\1\0",
        b"\1\0\1k\x08\0\2\5a",
        b"\1\0\1k\x08\0\3\1a\xff",
        b"\1\0\1k\x08\0\3\1ba\x08\0\3\1ab",
        b"\1\0\1k\x08\0\3\1ax\x08\0\3\1ay",
    ],
)
def test_what_is_not_the_one_encoding_of_a_header(payload: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_header(payload)
    assert caught.value.code == ErrorCode.FRAME_ERROR
