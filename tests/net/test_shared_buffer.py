# SPDX-License-Identifier: Apache-2.0
import trio

from mezite.net.shared_buffer import SharedBuffer


def test_one_for_each_run() -> None:
    shared = SharedBuffer("test", 10)

    async def take() -> bytearray:
        assert shared.take() is shared.take()
        return shared.take()

    first, second = trio.run(take), trio.run(take)
    assert first is not second
    assert len(first) == 10
