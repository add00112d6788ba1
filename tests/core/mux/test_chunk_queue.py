# SPDX-License-Identifier: Apache-2.0
import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from mezite.core.mux import chunk_queue
from mezite.core.mux.chunk_queue import PACK_BELOW, PACKED_SIZE, Chunk, ChunkQueue


def test_a_large_chunk_is_handed_on_as_it_came() -> None:
    queue = ChunkQueue()
    large = bytes(PACKED_SIZE)
    queue.append(large)
    queue.append(large)
    assert queue.take(40_000) is large
    queue.append(large)
    assert len(queue.take(100_000)) == 2 * PACKED_SIZE
    queue.append(large)
    assert len(queue) == PACKED_SIZE


def test_a_lone_chunk_is_handed_on_as_it_came() -> None:
    queue = ChunkQueue()
    queue.append(bytes(PACK_BELOW))
    assert len(queue.take(100_000)) == PACK_BELOW
    assert queue.take(10) == b""


def test_a_changeable_chunk_is_copied() -> None:
    for size in (10, PACK_BELOW):
        queue = ChunkQueue()
        mine = bytearray(size)
        queue.append(mine)
        mine[0] = 1
        assert queue.take(size) == bytes(size)


def test_small_chunks_share_one_object_b9() -> None:
    tracemalloc.start()
    try:
        queue = ChunkQueue()
        for at in range(100_000):
            queue.append(bytes([at % 251]))
        # Its own alone: other threads of a test run allocate, too.
        here = tracemalloc.Filter(inclusive=True, filename_pattern=chunk_queue.__file__)
        found = tracemalloc.take_snapshot().filter_traces([here]).statistics("filename")
    finally:
        tracemalloc.stop()
    assert len(queue) == 100_000
    assert 100_000 <= sum(each.size for each in found) < 200_000


def test_clear_forgets() -> None:
    queue = ChunkQueue()
    queue.append(b"abc")
    queue.clear()
    assert len(queue) == 0
    assert queue.take(1) == b""


SIZES = st.integers(0, 10) | st.sampled_from([PACK_BELOW - 1, PACK_BELOW, PACKED_SIZE, PACKED_SIZE + 1])


@given(st.lists(st.tuples(st.booleans(), SIZES)))
def test_bytes_leave_in_the_order_they_came(steps: list[tuple[bool, int]]) -> None:
    queue, model = ChunkQueue(), bytearray()
    for number, (put, size) in enumerate(steps):
        if put:
            data = bytes([number % 256]) * size
            queue.append(memoryview(data) if number % 2 else data)
            model += data
        elif number % 2:
            taken = queue.take(size)
            assert len(taken) <= size
            assert taken or not size or not model
            assert taken == model[: len(taken)]
            del model[: len(taken)]
        else:
            parts: list[Chunk] = []
            count = min(size, len(model))
            queue.take_into(parts, count)
            assert b"".join(parts) == model[:count]
            del model[:count]
        assert len(queue) == len(model)
