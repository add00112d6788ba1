# SPDX-License-Identifier: Apache-2.0
"""A gateway of your own: connections to a port here come out at a service that only dials out.

    python examples/custom_gateway.py

Three parts in one process, so that it can be run as it is: a service nobody can reach, an agent beside it
that dials the gateway, and the gateway with one port for agents and one for users. A real one authenticates
the agent: put a `TlsStream` with client certificates between TCP and `MuxSession`.
"""

import functools

import trio

from mezite import (
    ChannelHeader,
    ChannelRejectedError,
    ConnectionLimiter,
    MuxSession,
    Side,
    dial,
    relay,
    serve_connections,
)


class Gateway:
    """Users' connections become channels in the newest agent's tunnel."""

    def __init__(self):
        self.tunnel = None
        self.has_agent = trio.Event()

    async def handle_agent(self, connection):
        async with trio.open_nursery() as nursery:
            session = MuxSession(connection.stream, Side.ACCEPTER)
            await nursery.start(session.run)
            connection.established()  # it speaks our protocol: the deadline for strangers no longer counts
            self.tunnel = session
            self.has_agent.set()
            await session.wait_closed()

    async def handle_user(self, connection):
        if self.tunnel is None:
            return  # closing the connection is all that plain TCP can say
        connection.established()
        header = ChannelHeader(kind="tcp", target="service", client_address=connection.peer_address)
        try:
            channel = await self.tunnel.open_channel(header)
        except ChannelRejectedError as refusal:
            print("refused:", refusal)
            return
        await relay(connection.stream, channel)


async def run_agent(gateway_address, service_address, *, task_status):
    """Dial out, and connect every channel that the gateway opens to the service."""
    async with trio.open_nursery() as nursery:
        session = MuxSession(await dial(gateway_address, 0), Side.DIALER)
        await nursery.start(session.run)
        task_status.started()
        while True:
            nursery.start_soon(join, await session.accept_channel(), service_address)


async def join(offer, service_address):
    service = await dial(service_address, 0)
    await relay(await offer.accept(), service)


async def greet(stream):
    """The service: says a word to each line it gets."""
    async for data in stream:
        await stream.send_all(b"you said: " + data)
    await stream.send_eof()


async def listen(nursery, handler, name):
    """Serve on a free port of loopback and return its address."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(
        functools.partial(serve_connections, listeners, handler, name=name, limiter=ConnectionLimiter())
    )
    return address_of(listeners)


def address_of(listeners):
    return f"127.0.0.1:{listeners[0].socket.getsockname()[1]}"


async def main():
    gateway = Gateway()
    async with trio.open_nursery() as nursery:
        service = await nursery.start(functools.partial(trio.serve_tcp, greet, 0, host="127.0.0.1"))
        agents_address = await listen(nursery, gateway.handle_agent, "agents")
        users_address = await listen(nursery, gateway.handle_user, "users")
        await nursery.start(run_agent, agents_address, address_of(service))
        await gateway.has_agent.wait()
        async with await dial(users_address, 0) as user:
            await user.send_all(b"hello through the tunnel")
            await user.send_eof()
            print(b"".join([data async for data in user]).decode())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
