# SPDX-License-Identifier: Apache-2.0
"""The byte path of a tunnel as it is in a hub: TCP, wrappers of the accept loop, TLS, multiplexer."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from mezite.core.mux.connection import ChannelHeader, Side
from mezite.net.byte_streams import PushbackStream
from mezite.net.connection_limits import BudgetedStream
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import MuxSession
from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_engine import MAX_UNSENT_REPLIES
from mezite.net.tls_stream import TLS_CHUNK_BYTES, TlsError, TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.net.test_direct_socket import tcp_pair

CERT, KEY = self_signed_pem("localhost")


@asynccontextmanager
async def tls_pair(budget: int = 100_000) -> AsyncIterator[tuple[TlsStream, TlsStream, BudgetedStream]]:
    async with tcp_pair() as (near, far):
        budgeted = BudgetedStream(far, budget)
        client = TlsStream(near, client_context([CERT], []), server_side=False, server_hostname="localhost")
        server = TlsStream(PushbackStream(budgeted), server_context(CERT, KEY, []), server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            nursery.start_soon(server.do_handshake)
        async with client, server:
            yield client, server, budgeted


async def read_all(channel: MuxChannel) -> bytes:
    return b"".join([part async for part in channel])


async def test_megabytes_both_ways_through_a_channel() -> None:
    up, down = random.Random(1).randbytes(5_000_000), random.Random(2).randbytes(3_000_000)
    async with tls_pair() as (client, server, budgeted), trio.open_nursery() as nursery:
        budgeted.lift()
        ours, theirs = MuxSession(client, Side.DIALER), MuxSession(server, Side.ACCEPTER)
        nursery.start_soon(ours.run)
        nursery.start_soon(theirs.run)
        got: dict[str, bytes] = {}

        async def receive(name: str, channel: MuxChannel) -> None:
            got[name] = await read_all(channel)

        async def send(channel: MuxChannel, data: bytes) -> None:
            await channel.send_all(data)
            await channel.send_eof()

        async def answer() -> None:
            channel = await (await theirs.accept_channel()).accept()
            nursery.start_soon(receive, "up", channel)
            nursery.start_soon(send, channel, down)

        nursery.start_soon(answer)
        channel = await ours.open_channel(ChannelHeader(kind="bulk"))
        async with trio.open_nursery() as transfer:
            transfer.start_soon(send, channel, up)
            transfer.start_soon(receive, "down", channel)
        await ours.drain()
    assert got == {"up": up, "down": down}


async def test_many_channels_that_send_at_once_do_not_keep_the_writer_to_themselves_b3() -> None:
    async with tls_pair() as (client, server, budgeted), trio.open_nursery() as nursery:
        budgeted.lift()
        ours, theirs = MuxSession(client, Side.DIALER), MuxSession(server, Side.ACCEPTER)
        nursery.start_soon(ours.run)
        nursery.start_soon(theirs.run)
        received: list[int] = []

        async def answer() -> None:
            while True:
                channel = await (await theirs.accept_channel()).accept()
                nursery.start_soon(count, channel)

        async def count(channel: MuxChannel) -> None:
            received.append(len(await read_all(channel)))

        async def send() -> None:
            channel = await ours.open_channel(ChannelHeader(kind="bulk"))
            await channel.send_all(bytes(50_000))
            await channel.send_eof()
            await channel.receive_some()

        nursery.start_soon(answer)
        async with trio.open_nursery() as senders:
            for _ in range(100):
                senders.start_soon(send)
            while len(received) < 100:
                await trio.testing.wait_all_tasks_blocked(0.01)
            senders.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert received == [50_000] * 100


async def test_receiving_into_a_buffer_is_receiving() -> None:
    async with tls_pair() as (client, server, _):
        buffer = bytearray(10)
        await client.send_all(b"0123456789abc")
        assert await server.receive_into(buffer) == 10
        assert buffer == b"0123456789"
        assert await server.receive_into(buffer) == 3
        assert buffer[:3] == b"abc"
        # A half-close decrypts what has come before it is asked for.
        await client.send_all(b"x" * 15)
        await server.transport.wait_send_all_might_not_block()
        server._engine.incoming.write(await server.transport.receive_some())
        await server.send_eof()
        assert [await server.receive_into(buffer) for _ in range(2)] == [10, 5]
        await client.send_eof()
        assert await server.receive_into(buffer) == 0
        assert await server.receive_into(buffer) == 0


async def test_a_bad_record_after_a_good_handshake() -> None:
    async with tls_pair() as (client, server, _):
        await client.transport.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
        with pytest.raises(TlsError):
            await server.receive_into(bytearray(10))
        with pytest.raises(trio.BrokenResourceError):
            await server.receive_into(bytearray(10))


async def test_too_many_replies_owed_cut_a_receive_into_a_buffer_too() -> None:
    async with tls_pair() as (client, server, _):
        server._engine.outgoing.write(bytes(MAX_UNSENT_REPLIES + 1))
        await client.send_all(b"x")
        with pytest.raises(TlsError, match="key updates"):
            await server.receive_into(bytearray(10))


async def test_more_than_one_step_on_a_connection() -> None:
    data = random.Random(3).randbytes(3 * TLS_CHUNK_BYTES + 5)
    async with tls_pair(budget=10_000_000) as (client, server, budgeted), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            await client.send_all(data)
            await client.send_eof()

        got = bytes(await server.receive_some())
        budgeted.lift()
        buffer = bytearray(TLS_CHUNK_BYTES)
        while count := await server.receive_into(buffer):
            got += buffer[:count]
        assert got == data
