# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_byte_buffer import check
from mezite.core.byte_buffer import COMPACT_AT, ByteBuffer
from mezite.core.errors import RemoteProtocolError


def test_take_gives_exactly_or_nothing() -> None:
    buffer = ByteBuffer(10)
    buffer.feed(b"abc")
    assert buffer.take(4) is None
    assert buffer.take(0) == b""
    assert buffer.take(2) == b"ab"
    assert len(buffer) == 1
    assert buffer.take(1) == b"c"
    assert buffer.take(1) is None


def test_rollback_gives_the_bytes_again_and_commit_does_not() -> None:
    buffer = ByteBuffer(10)
    buffer.feed(bytearray(b"abcd"))
    assert buffer.take(1) == b"a"
    buffer.commit()
    assert buffer.take(2) == b"bc"
    buffer.rollback()
    assert buffer.take(3) == b"bcd"
    assert buffer.uncommitted == 3
    buffer.commit()
    assert buffer.uncommitted == 0
    buffer.rollback()
    assert len(buffer) == 0


def test_the_limit_counts_what_is_not_committed_a6() -> None:
    buffer = ByteBuffer(4)
    buffer.feed(memoryview(b"abcd"))
    assert buffer.take(4) == b"abcd"
    with pytest.raises(RemoteProtocolError, match="more than 4 bytes"):
        buffer.feed(b"e")
    buffer.commit()
    buffer.feed(b"efgh")
    assert buffer.take(4) == b"efgh"


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_must_be_positive(limit: int) -> None:
    with pytest.raises(ValueError, match="limit"):
        ByteBuffer(limit)


def test_a_negative_count_is_a_bug() -> None:
    with pytest.raises(ValueError, match="count"):
        ByteBuffer(1).take(-1)


def test_committed_bytes_are_moved_out_of_the_way_p10() -> None:
    buffer = ByteBuffer(COMPACT_AT * 4)
    buffer.feed(bytes(COMPACT_AT) + b"rest")
    assert buffer.take(COMPACT_AT) == bytes(COMPACT_AT)
    buffer.commit()
    buffer.feed(b" of it")
    assert buffer.take(10) == b"rest of it"


def test_a_remainder_that_never_goes_does_not_pile_up_p10() -> None:
    """The front is cut off as it grows, although the buffer never runs empty."""
    buffer = ByteBuffer(1 << 20)
    buffer.feed(b"x" * 1000)
    for _ in range(1000):
        buffer.feed(b"y" * 1000)
        assert len(buffer.take(1000) or b"") == 1000
        buffer.commit()
    assert len(buffer) == buffer.uncommitted == 1000


@given(st.binary(max_size=400))
def test_fuzz_claim(data: bytes) -> None:
    check(data)
