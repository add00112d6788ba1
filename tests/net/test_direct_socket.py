# SPDX-License-Identifier: Apache-2.0
import random
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mezite.net.byte_streams import LINGER_NOT, PushbackStream, relay
from mezite.net.connection_limits import BudgetedStream
from mezite.net.direct_socket import DirectSocket, PromptPath, direct_socket


@asynccontextmanager
async def tcp_pair() -> AsyncIterator[tuple[trio.SocketStream, trio.SocketStream]]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        server = await listener.accept()
    async with client, server:
        yield client, server


def direct(stream: trio.abc.Stream) -> DirectSocket:
    found = direct_socket(stream)
    assert found is not None
    return found


async def test_wrappers_are_skipped_once_they_add_nothing() -> None:
    async with tcp_pair() as (client, _):
        budgeted = BudgetedStream(client, 10)
        pushed = PushbackStream(budgeted, b"x")
        assert direct_socket(client) is not None
        assert direct_socket(pushed) is None
        budgeted.lift()
        assert direct_socket(pushed) is None
        await pushed.receive_some()
        assert direct_socket(pushed) is not None
    assert direct_socket(trio.testing.memory_stream_pair()[0]) is None


async def test_megabytes_arrive_whole_by_every_way_of_receiving() -> None:
    data = random.Random(1).randbytes(20_000_000)
    async with tcp_pair() as (client, server):
        got = bytearray()
        waited: list[bool] = []

        async def send() -> None:
            waited.append(await direct(client).send_promptly(data))
            await client.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            source, buffer = direct(server), bytearray(100_000)
            while count := await source.receive_into(buffer):
                got += buffer[:count]
                got += await source.receive_some(50_000)
        assert got == data
        assert waited == [True]  # so much does not fit into any socket


async def test_what_the_kernel_takes_at_once_costs_no_checkpoint() -> None:
    async with tcp_pair() as (client, server):
        with trio.testing.assert_no_checkpoints():
            assert await direct(client).send_promptly(b"hello") is False
            assert await direct(client).send_promptly(b"") is False
        with trio.testing.assert_checkpoints():
            assert await direct(server).receive_some(100) == b"hello"


async def test_a_full_receive_is_followed_by_a_try_and_nothing_is_lost_b2() -> None:
    async with tcp_pair() as (client, server):
        source = direct(server)
        await client.send_all(b"ab")
        assert await source.receive_some(1) == b"a"
        assert await source.receive_into(bytearray(1)) == 1
        # Both filled what they had room for, so the next ones try, find nothing, and wait.
        for receive in (source.receive_some, source.receive_into):
            source._drained = False
            with trio.move_on_after(0) as scope:
                await receive(1 if receive == source.receive_some else bytearray(1))
            assert scope.cancelled_caught
        source._drained = False
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def later() -> None:
                await trio.testing.wait_all_tasks_blocked()
                await client.send_all(b"c")

            assert await source.receive_some(1) == b"c"


async def test_a_receive_that_tries_in_vain_waits() -> None:
    async with tcp_pair() as (client, server):
        source, buffer = direct(server), bytearray(5)
        for send in (b"x", b"y"):
            source._drained = False
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def later(data: bytes = send) -> None:
                    await trio.testing.wait_all_tasks_blocked()
                    await client.send_all(data)

                if send == b"x":
                    assert await source.receive_into(buffer) == 1
                else:
                    assert await source.receive_some(5) == b"y"


async def test_errors_are_those_of_trio() -> None:
    async with tcp_pair() as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        await client.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await direct(server).receive_some(1)
        with pytest.raises(trio.BrokenResourceError):
            await direct(server).send_promptly(b"x")
    async with tcp_pair() as (client, server):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        await client.aclose()
        with pytest.raises(trio.BrokenResourceError):
            await direct(server).receive_into(bytearray(1))
        ours = direct(server)
        await server.aclose()
        for operation in (ours.receive_some(1), ours.receive_into(bytearray(1)), ours.send_promptly(b"x")):
            with pytest.raises(trio.ClosedResourceError):
                await operation


async def test_closing_ends_what_waits() -> None:
    async with tcp_pair() as (client, server), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await direct(client).receive_some(1)

        @nursery.start_soon
        async def send() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await direct(client).send_promptly(bytes(50_000_000))

        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
        await server.aclose()


async def test_a_relay_between_two_connections() -> None:
    data = random.Random(2).randbytes(300_000)
    async with tcp_pair() as (user, near), tcp_pair() as (far, node), trio.open_nursery() as nursery:
        nursery.start_soon(relay, near, far)

        @nursery.start_soon
        async def ask() -> None:
            await user.send_all(data)
            await user.send_eof()

        got = b"".join([part async for part in node])
        await node.send_all(got[::-1])
        await node.send_eof()
        assert b"".join([part async for part in user]) == data[::-1]


async def test_what_the_kernel_does_not_take_is_left_to_the_sender() -> None:
    async with tcp_pair() as (client, server):
        outlet, data = direct(client), bytes(1_000_000)
        sent = 0
        while taken := outlet.send_at_once(data):
            sent += taken
        assert sent
        assert outlet.send_at_once(b"x") == 0
        got = 0
        with trio.fail_after(5):
            while got < sent:
                got += len(await server.receive_some())
        assert got == sent


async def test_nothing_is_sent_past_what_is_in_between() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    path = PromptPath(ours)
    assert path.send_at_once(b"x") == 0
    async with tcp_pair() as (client, server):
        path = PromptPath(PushbackStream(client))
        assert path.send_at_once(b"abc") == 3
        assert await server.receive_some() == b"abc"
    with pytest.raises(trio.ClosedResourceError):
        path.send_at_once(b"x")
    await theirs.aclose()
