# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.metadata import Metadata, decode_metadata, encode_metadata
from mezite.core.grpc.status import StatusCode

NAMES = st.from_regex(r"[a-z][a-z0-9_.]{0,12}", fullmatch=True).filter(
    lambda name: name not in ("te", "host", "connection")
)
TEXTS = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20).map(str.strip)
ITEMS = st.one_of(
    st.tuples(NAMES, TEXTS),
    st.tuples(NAMES.map(lambda name: f"{name}-bin"), st.binary(max_size=20)),
)


@given(st.lists(ITEMS, max_size=8))
def test_round_trip(items):
    assert decode_metadata(encode_metadata(items)) == Metadata(tuple(items))


@pytest.mark.parametrize(
    "item",
    [
        ("", "x"),
        ("Upper", "x"),
        ("a b", "x"),
        ("a\n", "x"),
        (":path", "x"),
        ("grpc-status", "0"),
        ("content-type", "x"),
        ("te", "x"),
        ("ä", "x"),
        ("key", b"bytes"),
        ("key-bin", "text"),
        ("key", "line\r\nbreak"),
        ("key", "ünïcode"),
        ("key", " padded"),
    ],
)
def test_metadata_that_cannot_travel_is_refused(item):
    """D12: nothing of ours can be read as another field."""
    with pytest.raises(LocalProtocolError):
        encode_metadata([item])


def test_pseudo_and_transport_fields_are_no_metadata():
    fields = [
        (b":path", b"/x"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"1S"),
        (b"authorization", b"Bearer x"),
    ]
    assert decode_metadata(fields) == Metadata((("authorization", "Bearer x"),))


@pytest.mark.parametrize("wire", [b"YWJjZA==", b"YWJjZA", b" YWJjZA "])
def test_base64_with_and_without_padding(wire):
    assert decode_metadata([(b"k-bin", wire)]).get_bytes("k-bin") == b"abcd"


def test_joined_binary_values_are_taken_apart():
    assert decode_metadata([(b"k-bin", b"YQ==,Yg")]).get_all("k-bin") == [b"a", b"b"]


def test_outer_spaces_of_a_value_are_dropped():
    assert decode_metadata([(b"k", b"  v ")]).get("k") == "v"


@pytest.mark.parametrize(
    "field",
    [(b"k-bin", b"a!b"), (b"k-bin", b"abcde"), (b"k", b"\xff"), (b"k", b"a\tb"), (b"K", b"v"), (b"", b"v")],
)
def test_malformed_fields_are_the_peers_fault(field):
    with pytest.raises(RemoteProtocolError) as caught:
        decode_metadata([field])
    assert caught.value.code == StatusCode.INTERNAL


def test_access():
    metadata = Metadata((("a", "1"), ("b-bin", b"2"), ("a", "3")))
    assert metadata.get("a") == "1"
    assert metadata.get("b-bin") is None
    assert metadata.get("c") is None
    assert metadata.get_bytes("b-bin") == b"2"
    assert metadata.get_bytes("a") is None
    assert metadata.get_all("a") == ["1", "3"]
    assert list(metadata) == [("a", "1"), ("b-bin", b"2"), ("a", "3")]


def test_a_server_may_say_when_to_try_again() -> None:
    assert encode_metadata([("grpc-retry-pushback-ms", "7000")]) == [(b"grpc-retry-pushback-ms", b"7000")]
