# SPDX-License-Identifier: Apache-2.0
"""TCP options that every connection of ours gets."""

from __future__ import annotations

import socket

import trio

__all__ = ["tune_connection"]

#: Seconds before an idle connection is probed, between probes, and probes until it counts as dead: a peer
#: that vanished without a FIN is noticed after 30 + 3 * 10 = 60 s even where no protocol of ours pings.
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10
KEEPALIVE_PROBES = 3

#: Sent data that stays unacknowledged this long ends the connection (threat B4). Linux would retry for a
#: quarter of an hour, during which a tunnel looks alive.
USER_TIMEOUT_MILLISECONDS = 30_000


def tune_connection(stream: trio.SocketStream) -> None:
    """Set keepalive and TCP_USER_TIMEOUT; Trio has set TCP_NODELAY already. Unix sockets are left alone.

    Buffer sizes are not touched: setting them switches the kernel's auto-tuning off.
    """
    sock = stream.socket
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_SECONDS)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MILLISECONDS)
