# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.certificates.ssh_wire import (
    MalformedWireError,
    WireReader,
    encode_mpint,
    encode_string,
    encode_uint32,
    encode_uint64,
)

# RFC 4251 section 5.
MPINTS = [
    (0, "00000000"),
    (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
    (0x80, "000000020080"),
    (0x7F, "000000017f"),
]


@pytest.mark.parametrize(("value", "wire"), MPINTS)
def test_mpint_as_in_the_rfc(value, wire):
    assert encode_mpint(value) == bytes.fromhex(wire)
    if value:
        assert WireReader(bytes.fromhex(wire)).read_mpint() == value


@pytest.mark.parametrize(
    "wire", ["00000000", "0000000100", "00000001ff", "000000020001", "00000002ff80", "0000000400000080"]
)
def test_mpint_in_another_spelling_is_refused(wire):
    with pytest.raises(MalformedWireError, match=r"^number is zero, negative or not in its shortest form$"):
        WireReader(bytes.fromhex(wire)).read_mpint()


@given(
    st.integers(1, 1 << 4096), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=50)
)
def test_what_is_written_reads_back(big, small, wide, data):
    reader = WireReader(encode_mpint(big) + encode_uint32(small) + encode_uint64(wide) + encode_string(data))
    assert reader.read_mpint() == big
    assert reader.read_uint32() == small
    assert reader.read_uint64() == wide
    assert reader.remaining == 4 + len(data)
    assert reader.read_string() == data
    reader.expect_end()


def test_short_reads_are_refused_and_nothing_is_padded():
    with pytest.raises(MalformedWireError, match="4 bytes announced, 3 left"):
        WireReader(b"abc").read_uint32()
    with pytest.raises(MalformedWireError, match="5 bytes announced, 4 left"):
        WireReader(b"\0\0\0\x05abcd").read_string()
    with pytest.raises(MalformedWireError, match="4294967295 bytes announced, 0 left"):
        WireReader(b"\xff\xff\xff\xff").read_string()


def test_leftovers_are_refused():
    with pytest.raises(MalformedWireError, match="1 bytes left over"):
        WireReader(b"\0").expect_end()


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"\xc0\x80"])
def test_text_is_utf8(raw):
    with pytest.raises(MalformedWireError, match=r"^text is not UTF-8$"):
        WireReader(encode_string(raw)).read_text()


@pytest.mark.parametrize("raw", [b"a\x00", b"a\n", b"\x1b[2J", "\u202e".encode(), b"\x7f"])
def test_text_is_printable(raw):
    with pytest.raises(MalformedWireError, match=r"^text has control characters$"):
        WireReader(encode_string(raw)).read_text()
    assert WireReader(encode_string("größe".encode())).read_text() == "größe"


@pytest.mark.parametrize("value", [-1, 2**32])
def test_numbers_that_do_not_fit_are_a_bug(value):
    with pytest.raises(OverflowError):
        encode_uint32(value)
    with pytest.raises(OverflowError):
        encode_uint64(-1)
