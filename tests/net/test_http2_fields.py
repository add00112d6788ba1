# SPDX-License-Identifier: Apache-2.0
"""What is remembered must be what hpack would have said: compared with hpack's own, block by block."""

from __future__ import annotations

import hpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.http2_fields import (
    LONGEST_REMEMBERED,
    REMEMBERED,
    FieldDecoder,
    FieldEncoder,
    FieldsUnreadableError,
    ShortMemory,
)

NAMES = st.sampled_from([b":status", b":path", b"content-type", b"grpc-status", b"x", b"authorization"])
VALUES = st.sampled_from([b"200", b"/", b"0", b"application/grpc", b"a" * 40, b"b" * 300])
FIELDS = st.builds(
    lambda name, value, kind: kind(name, value) if kind else (name, value),
    NAMES,
    VALUES,
    st.sampled_from([None, None, hpack.HeaderTuple, hpack.NeverIndexedHeaderTuple]),
)
SIZES = st.sampled_from([0, 64, 200, 4096])
STEPS = st.lists(st.one_of(st.lists(FIELDS, max_size=5), SIZES), max_size=30)


@given(STEPS)
def test_the_same_bytes_and_fields_as_hpack_whatever_came_before(steps: list[object]) -> None:
    ours, theirs = FieldEncoder(), hpack.Encoder()
    reading, reference = FieldDecoder(), hpack.Decoder()
    seen: list[list[object]] = []
    for step in steps:
        if isinstance(step, int):
            ours.header_table_size = theirs.header_table_size = step
            assert ours.header_table_size == step
            continue
        seen.append(step)
        for fields in (*seen[-3:], step):
            block = ours.encode(fields)
            assert block == theirs.encode(fields)
            try:
                expected = reference.decode(block, raw=True)
            except hpack.HPACKError:
                # hpack's encoder forgets to tell of a table that is resized twice.
                with pytest.raises(FieldsUnreadableError):
                    reading.decode(block, raw=True)
                return
            got = reading.decode(block, raw=True)
            assert list(got) == expected
            assert [type(field) for field in got] == [type(field) for field in expected]


ANSWER = [(b":status", b"200"), (b"content-type", b"application/grpc")]


def test_a_block_of_the_same_fields_is_made_and_read_once() -> None:
    encoder, decoder = FieldEncoder(), FieldDecoder()
    first = encoder.encode(ANSWER)
    decoder.decode(first)
    again = encoder.encode(ANSWER)
    assert encoder.encode(list(ANSWER)) is again
    assert len(again) < len(first)
    fields = decoder.decode(again, raw=True)
    assert decoder.decode(bytes(again), raw=True) is fields


def test_a_field_that_may_not_be_indexed_is_never_taken_for_one_that_may() -> None:
    encoder = FieldEncoder()
    encoder.encode(ANSWER)
    indexed = encoder.encode(ANSWER)
    secret = [hpack.NeverIndexedHeaderTuple(*field) for field in ANSWER]
    assert secret == ANSWER
    assert encoder.encode(secret) == hpack_twin(encoder).encode(secret)
    assert encoder.encode(ANSWER) == indexed


def hpack_twin(encoder: FieldEncoder) -> hpack.Encoder:
    twin = hpack.Encoder()
    for name, value in reversed(encoder.header_table.dynamic_entries):
        twin.header_table.add(name, value)
    return twin


def test_limits_that_change_are_obeyed_at_once() -> None:
    encoder, decoder = FieldEncoder(), FieldDecoder()
    for _ in range(3):
        block = encoder.encode(ANSWER)
        decoder.decode(block)
    decoder.max_header_list_size = 10
    with pytest.raises(hpack.OversizedHeaderListError):
        decoder.decode(block)
    decoder.max_header_list_size = 1000
    decoder.decode(block)
    decoder.max_allowed_table_size = 100
    with pytest.raises(FieldsUnreadableError):
        decoder.decode(block)


def test_broken_blocks_are_a_matter_of_compression_each_time() -> None:
    decoder = FieldDecoder()
    for _ in range(3):
        with pytest.raises(FieldsUnreadableError, match="cannot be decoded"):
            decoder.decode(b"\xff\xff\xff")


def test_long_blocks_are_not_kept() -> None:
    encoder, decoder = FieldEncoder(), FieldDecoder()
    long = [hpack.NeverIndexedHeaderTuple(b"x", bytes(range(33, 127)) * 10)]
    block = encoder.encode(long)
    assert len(block) > LONGEST_REMEMBERED
    assert decoder.decode(block) == decoder.decode(block)
    assert decoder._memory._answers == {}


def test_the_memory_is_short() -> None:
    memory: ShortMemory[int, str] = ShortMemory()
    for number in range(REMEMBERED + 1):
        memory.keep("one", number, str(number))
    assert memory.recall("one", 0) is None
    assert memory.recall("one", REMEMBERED) == str(REMEMBERED)
    assert memory.recall("two", REMEMBERED) is None
    memory.keep("two", 1, "1")
    assert memory.recall("one", REMEMBERED) is None
