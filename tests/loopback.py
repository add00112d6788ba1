# SPDX-License-Identifier: Apache-2.0
"""Servers of tests on loopback."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import trio

from mezite.net.addresses import join_host_port

Serve = Callable[[trio.SocketStream], Awaitable[None]]
# A client that has what it wanted goes away while its server still speaks: no failure of either.
GONE = (trio.BrokenResourceError, trio.ClosedResourceError)


@contextlib.asynccontextmanager
async def listening(serve: Serve, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """Runs ``serve(stream)`` for each connection for the length of the block; yields ``HOST:PORT``."""

    async def guarded(stream: trio.SocketStream) -> None:
        with contextlib.suppress(*GONE):
            await serve(stream)
        await trio.aclose_forcefully(stream)

    listeners = await trio.open_tcp_listeners(0, host=host)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, guarded, listeners)
        yield join_host_port(host, listeners[0].socket.getsockname()[1])
        nursery.cancel_scope.cancel()
