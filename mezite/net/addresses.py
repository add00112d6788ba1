# SPDX-License-Identifier: Apache-2.0
"""The addresses of a connection as text, in one spelling."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any, Protocol, runtime_checkable

import trio

__all__ = ["AddressedStream", "connection_addresses", "host_of", "join_host_port", "split_host_port"]

_MAX_PORT = 65535


@runtime_checkable
class AddressedStream(Protocol):
    """A stream that is not a socket but knows its ends (the memory network of the tests)."""

    @property
    def peer_address(self) -> str:
        """``ip:port`` of the other end."""

    @property
    def local_address(self) -> str:
        """``ip:port`` of this end."""


def connection_addresses(stream: trio.abc.Stream) -> tuple[str, str]:
    """``(peer, local)`` as ``ip:port``; IPv6 in brackets, IPv4-mapped IPv6 as IPv4 (threat C1).

    A Unix socket, and a TCP peer that has reset the connection already, give ``unknown:0``: never an empty
    string, so that it cannot become an empty key of a limiter (threat C3).
    """
    if isinstance(stream, AddressedStream):
        return stream.peer_address, stream.local_address
    if not isinstance(stream, trio.SocketStream):
        return "unknown:0", "unknown:0"
    try:
        return _spell(stream.socket.getpeername()), _spell(stream.socket.getsockname())
    except OSError:
        return "unknown:0", "unknown:0"


def _spell(name: Any) -> str:
    if not isinstance(name, tuple):
        return "unknown:0"
    # A scope (fe80::1%eth0) is local to one machine and has no place in logs or limits.
    address = ipaddress.ip_address(str(name[0]).partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return join_host_port(str(address), name[1])


def join_host_port(host: str, port: int) -> str:
    """``host:port``, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_host_port(address: str, default_port: int) -> tuple[str, int]:
    """``host``, ``host:port``, ``[v6]:port``, ``[v6]`` or a bare IPv6 address into host and port.

    Raises :exc:`ValueError` with a message for the user.
    """
    if "://" in address:
        raise ValueError(f"{address!r} is a URL, not host[:port]")
    if address.startswith("["):
        host, closed, rest = address[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{address!r} is not [IPv6]:port")
        _require_ipv6(host, address)
        return host, _port(rest[1:], address) if rest else default_port
    if address.count(":") > 1:
        _require_ipv6(address, address)
        return address, default_port
    host, colon, port = address.partition(":")
    if not host or not host.isascii() or any(c.isspace() or c in "/@#?" for c in host):
        raise ValueError(f"{address!r} is not host[:port]")
    return host, _port(port, address) if colon else default_port


def host_of(address: str) -> str:
    """The host part of ``host:port`` or ``[v6]:port``, without brackets."""
    return split_host_port(address, 0)[0]


def _require_ipv6(host: str, address: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6, host)
    except OSError:
        raise ValueError(f"{address!r} holds no valid IPv6 address; write [IPv6]:port") from None


def _port(text: str, address: str) -> int:
    # int() takes signs, underscores and Arabic digits (threat D2)
    if not (text.isascii() and text.isdigit() and len(text) <= 5) or not 0 < int(text) <= _MAX_PORT:
        raise ValueError(f"the port of {address!r} is not a number from 1 to {_MAX_PORT}")
    return int(text)
