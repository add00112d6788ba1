# SPDX-License-Identifier: Apache-2.0
"""TCP ports for servers that must know theirs before they bind it: other people's programs, and their clients."""

from __future__ import annotations

import itertools
import os
import socket

__all__ = ["free_address", "free_port"]

FIRST, LAST = 20000, 32000
"""Below the ports that Linux gives to outgoing connections (32768 and up): nobody is handed one of these meanwhile."""

_turn = itertools.count(os.getpid() * 127)
_reservations: list[socket.socket] = []


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens, and that no call returns again while this process lives.

    Processes that run beside each other get different ones, too: each port is reserved by an abstract Unix socket
    of its number, which ends with its process.

    :raises RuntimeError: all are taken.
    """
    for _ in range(FIRST, LAST):
        port = FIRST + next(_turn) % (LAST - FIRST)
        reservation = socket.socket(socket.AF_UNIX)
        try:
            reservation.bind(f"\0mezite-testing-port-{port}")
            with socket.create_server(("127.0.0.1", port)):
                pass
        except OSError:
            reservation.close()
            continue
        _reservations.append(reservation)
        return port
    raise RuntimeError(f"every port from {FIRST} to {LAST} is taken")


def free_address() -> str:
    """Return ``127.0.0.1:PORT`` with a free port."""
    return f"127.0.0.1:{free_port()}"
