# SPDX-License-Identifier: Apache-2.0
"""Open a TCP connection, with one deadline over everything."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import trio

from mezite.core.errors import ExplainedError

from .addresses import join_host_port, split_host_port
from .socket_options import tune_connection

__all__ = ["DialError", "dial"]

#: Look-ups have threads of their own: in Trio's default pool a name could wait behind forty slow jobs of
#: others (threat P7). Eight at once is plenty for a process that dials a handful of names.
LOOKUP_THREADS = 8

#: A next address is tried when this long passed without an answer (RFC 8305 section 5 recommends 250 ms).
ATTEMPT_DELAY_SECONDS = 0.25

#: Addresses of one name that are tried; a name with hundreds must not open hundreds of sockets.
MAX_ADDRESSES = 8

_lookup_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("dialer_lookups")

_Address = tuple[socket.AddressFamily, Any]


class DialError(ExplainedError):
    """A connection could not be made: ``what`` failed, ``why``, and a ``hint`` what to do."""


async def dial(
    address: str,
    default_port: int,
    *,
    deadline_seconds: float = 15,
    refuse: Callable[[str], str] | None = None,
) -> trio.SocketStream:
    """Connect to ``host[:port]``; the stream has TCP_NODELAY, keepalive and a 30 s TCP_USER_TIMEOUT.

    All addresses of the name are tried, a quarter second apart, and the first that answers wins. ``refuse`` says of an
    IP address why it must not be dialled, or nothing; one refused address of a name is enough to dial none.
    Raises :exc:`DialError` for a malformed address, an unknown name, a refused or unanswered connection.
    """
    try:
        host, port = split_host_port(address, default_port)
    except ValueError as error:
        raise DialError(f"cannot connect to {address!r}", str(error), "write host:port") from None
    shown = join_host_port(host, port)
    stage = "looking up the name"
    with trio.move_on_after(deadline_seconds):
        addresses = await _look_up(host, port, shown)
        reasons = [refuse(sockaddr[0]) for _, sockaddr in addresses] if refuse is not None else []
        if any(reasons):
            raise DialError(f"may not connect to {shown}", next(filter(None, reasons)))
        stage = "no answer"
        return await _connect_first(addresses, shown)
    raise DialError(
        f"cannot connect to {shown}",
        f"{stage} after {deadline_seconds:g} s",
        "check the address and that a firewall lets the port through",
    )


def _lookups() -> trio.CapacityLimiter:
    try:
        return _lookup_limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(LOOKUP_THREADS)
        _lookup_limiter.set(limiter)
        return limiter


def _numeric(host: str, port: int) -> list[_Address]:
    """The address, when ``host`` is one already: finding that out asks nobody and needs no thread."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []
    return [(family, sockaddr) for family, _, _, _, sockaddr in found]


async def _look_up(host: str, port: int, shown: str) -> list[_Address]:
    numeric = _numeric(host, port)
    if numeric:
        return numeric
    try:
        found = await trio.to_thread.run_sync(
            lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG),
            # A pure question: an answer that comes too late changes nothing (threat P8).
            abandon_on_cancel=True,
            limiter=_lookups(),
        )
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "not a valid name"
        raise DialError(
            f"cannot look up {host}", why, "check the name and this machine's DNS settings"
        ) from error
    return interleave_families([(family, sockaddr) for family, _, _, _, sockaddr in found])[:MAX_ADDRESSES]


def interleave_families(addresses: Sequence[_Address]) -> list[_Address]:
    """Alternate address families, beginning with the resolver's first choice (RFC 8305 section 4)."""
    first = [a for a in addresses if a[0] == addresses[0][0]]
    other = [a for a in addresses if a[0] != addresses[0][0]]
    mixed: list[_Address] = []
    while first or other:
        mixed += first[:1] + other[:1]
        first, other = first[1:], other[1:]
    return mixed


@attrs.define(eq=False)
class _Race:
    winner: trio.SocketStream | None = None
    errors: list[OSError] = attrs.Factory(list)

    async def attempt(self, address: _Address, failed: trio.Event, scope: trio.CancelScope) -> None:
        family, sockaddr = address
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await sock.connect(sockaddr)
            if self.winner is None:
                self.winner = trio.SocketStream(sock)
                scope.cancel()
        except OSError as error:
            self.errors.append(error)
            failed.set()
        finally:
            if self.winner is None or self.winner.socket is not sock:
                sock.close()


async def _connect_first(addresses: Sequence[_Address], shown: str) -> trio.SocketStream:
    race = _Race()
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses:
                failed = trio.Event()
                nursery.start_soon(race.attempt, address, failed, nursery.cancel_scope)
                with trio.move_on_after(ATTEMPT_DELAY_SECONDS):
                    await failed.wait()
        if race.winner is None:
            raise _dial_error(shown, race.errors)
        tune_connection(race.winner)
    except BaseException:
        if race.winner is not None:
            race.winner.socket.close()
        raise
    return race.winner


def _dial_error(shown: str, errors: Sequence[OSError]) -> DialError:
    error = errors[0] if errors else OSError(errno.EHOSTUNREACH, os.strerror(errno.EHOSTUNREACH))
    hint = {
        errno.ECONNREFUSED: "nothing listens there: check the port and that the service runs",
        errno.EMFILE: "this process is out of file descriptors: raise its limit",
    }.get(error.errno or 0, "check the address and the route to it")
    why = os.strerror(error.errno) if error.errno else str(error)
    failure = DialError(f"cannot connect to {shown}", why.lower(), hint)
    failure.__cause__ = error
    return failure
