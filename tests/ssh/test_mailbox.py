# SPDX-License-Identifier: Apache-2.0
"""Items from a thread: all, in order, bounded."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mezite.ssh.mailbox import ITEM_BYTES, Mailbox, TrioWaker


async def test_items_in_order():
    mailbox = Mailbox(TrioWaker())

    def deliver() -> None:
        for number in range(1000):
            mailbox.deliver(number)

    seen = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, deliver)
        while len(seen) < 1000:
            seen += await mailbox.receive()
    assert seen == list(range(1000))


async def test_thread_waits_when_nobody_receives():
    mailbox = Mailbox(TrioWaker())
    delivered = []

    def deliver() -> None:
        for number in range(5):
            mailbox.deliver(number, ITEM_BYTES)
            delivered.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, deliver)
        while not delivered:
            await wait_all_tasks_blocked(0.01)
        await wait_all_tasks_blocked(0.05)
        assert delivered == [0]
        assert await mailbox.receive() == [0]
        mailbox.close()  # from now on nobody is held back
    assert delivered == [0, 1, 2, 3, 4]
    assert await mailbox.receive() == [1, 2, 3, 4]


async def test_cancelled_receive_loses_nothing():
    mailbox = Mailbox(TrioWaker())
    with trio.move_on_after(0):
        await mailbox.receive()
    mailbox.deliver("x")
    assert await mailbox.receive() == ["x"]


async def test_nothing_to_receive():
    with pytest.raises(trio.TooSlowError), trio.fail_after(0):
        await Mailbox(TrioWaker()).receive()
