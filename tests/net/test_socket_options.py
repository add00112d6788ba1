# SPDX-License-Identifier: Apache-2.0
import socket

import trio

from mezite.net.socket_options import USER_TIMEOUT_MILLISECONDS, tune_connection


async def test_a_tcp_connection_notices_a_dead_peer() -> None:
    """B4: half a minute of unacknowledged data, a minute of silence."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await trio.open_tcp_stream(*listener.socket.getsockname()) as stream:
        tune_connection(stream)
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == USER_TIMEOUT_MILLISECONDS
        idle, interval, probes = (
            stream.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + interval * probes <= 60


async def test_unix_sockets_are_left_alone() -> None:
    left, right = trio.socket.socketpair()
    with left, right:
        tune_connection(trio.SocketStream(left))
