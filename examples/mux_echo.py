# SPDX-License-Identifier: Apache-2.0
"""Many channels over one connection: an echo server, and a client that uses three channels at once.

    python examples/mux_echo.py

Plain TCP on loopback, so that the protocol is all there is to see. Put a `TlsStream` between TCP and
`MuxSession` for anything that leaves the machine.
"""

import trio

from mezite import ChannelHeader, MuxSession, Side


async def echo(channel):
    async with channel:
        async for data in channel:
            await channel.send_all(data)
        await channel.send_eof()


async def serve(stream):
    """One connection: whatever the client opens is echoed."""
    async with trio.open_nursery() as nursery:
        session = MuxSession(stream, Side.ACCEPTER)
        await nursery.start(session.run)
        while not session.goaway_received:
            with trio.move_on_after(0.1):
                offer = await session.accept_channel()
                nursery.start_soon(echo, await offer.accept())


async def talk(session, number):
    async with await session.open_channel(ChannelHeader(kind="echo", target=f"number {number}")) as channel:
        await channel.send_all(f"hello on channel {number}".encode())
        await channel.send_eof()
        answer = b"".join([data async for data in channel])
        print(answer.decode())


async def main():
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        session = MuxSession(await trio.open_tcp_stream("127.0.0.1", port), Side.DIALER)
        await nursery.start(session.run)
        async with trio.open_nursery() as talks:
            for number in (1, 2, 3):
                talks.start_soon(talk, session, number)
        await session.drain()
        print("done")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
