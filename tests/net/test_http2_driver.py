# SPDX-License-Identifier: Apache-2.0
"""The driver on real sockets, where it takes a shorter way than on other streams."""

import contextlib

import h2.events
import trio

from mezite.net.byte_streams import LINGER_NOT
from mezite.net.http2_server import Http2ServerConnection
from tests.net.http2_peers import H2Peer

SIZE = 1_000_000


@contextlib.asynccontextmanager
async def serving_on_tcp(handler):
    """A client's end of a connection, and an event for the end of the server's."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, trio.open_nursery() as nursery:
        client = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        server, over = await listener.accept(), trio.Event()

        async def serve():
            await Http2ServerConnection(server, handler).run()
            over.set()

        nursery.start_soon(serve)
        async with client:
            with trio.fail_after(20):
                yield client, over
        nursery.cancel_scope.cancel()


async def large(_head, stream):
    stream.send_headers([(b":status", b"200")])
    await stream.send_data(bytes(SIZE))
    stream.end()


async def test_large_answers_arrive_whole():
    async with serving_on_tcp(large) as (stream, _over):
        peer = H2Peer(stream)
        peer.h2.increment_flow_control_window(4 * SIZE)
        for _ in range(3):
            stream_id = peer.open(end_stream=True)
            peer.h2.increment_flow_control_window(4 * SIZE, stream_id)
            await peer.flush()
            await peer.wait_for(h2.events.StreamEnded, stream_id=stream_id)
            data = [event for event in peer.events if isinstance(event, h2.events.DataReceived)]
            assert sum(len(event.data) for event in data if event.stream_id == stream_id) == SIZE


async def test_a_reset_ends_the_connection():
    async with serving_on_tcp(large) as (stream, over):
        peer = H2Peer(stream)
        peer.open(end_stream=True)
        await peer.flush()
        await peer.wait_for(h2.events.DataReceived)
        stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, LINGER_NOT)
        await stream.aclose()
        await over.wait()


async def test_the_end_of_the_client_ends_the_connection():
    async with serving_on_tcp(large) as (stream, over):
        peer = H2Peer(stream)
        await peer.flush()
        await peer.receive()
        await stream.send_eof()
        await over.wait()
