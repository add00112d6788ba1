# SPDX-License-Identifier: Apache-2.0
"""What stands between a program and the hub: a balancer that ends TLS, proxies that misbehave."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from mezite.net.addresses import split_host_port
from mezite.net.byte_streams import relay
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from tests.loopback import Serve, listening


@asynccontextmanager
async def tls_front(
    target: str, pem: tuple[bytes, bytes], host: str = "127.0.0.1", *, alpn: Sequence[str] = ()
) -> AsyncIterator[str]:
    """A balancer that ends TLS and passes on what was inside."""
    context = server_context(*pem, alpn=alpn)

    async def serve(stream: trio.SocketStream) -> None:
        outer = TlsStream(stream, context, server_side=True)
        await outer.do_handshake()
        await relay(outer, await trio.open_tcp_stream(*split_host_port(target, 0)))

    async with listening(serve, host) as address:
        yield address


def answering(answer: bytes, *, then_close: bool = True) -> Serve:
    """A proxy that says `answer` to whatever it is asked."""

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(answer)
        if not then_close:
            await trio.sleep_forever()

    return serve
