# SPDX-License-Identifier: Apache-2.0
"""Whom a request is for, by its Host field and by nothing else (threats D7, D16).

A balancer sends requests for many hosts on one connection, so the question is asked for each request anew. What
`X-Forwarded-Host` or a name in the TLS handshake says plays no part.
"""

import enum
import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import attrs

__all__ = ["HostKind", "HostTable", "host_name"]


class HostKind(enum.Enum):
    """Whose a host name is."""

    HUB = "hub"
    APPLICATION = "application"
    OTHER = "other"


PORT = re.compile(r":[0-9]{1,5}\Z", re.ASCII)


@lru_cache(maxsize=1024)
def host_name(host: bytes) -> str:
    """Return the name or address in a Host field: no port, no brackets, no final dot, lower case.

    ``host`` has passed the gate (``request_head``), so it is ASCII. Names are equal in any case and with or
    without the dot of the root (RFC 4343; nginx's ``$host`` drops both too).
    """
    name = PORT.sub("", host.decode("ascii"))
    return name.removeprefix("[").removesuffix("]").removesuffix(".").lower()


@attrs.frozen(kw_only=True)
class HostTable:
    """The names that a hub answers to."""

    names: frozenset[str]
    """The hub's own, lower case; ``*.example.com`` stands for one more label on the left."""
    apps_domain: str | None = None
    """Applications are the names below it, unless the hub itself goes by that name."""

    def look_up(self, host: bytes) -> HostKind:
        """Return whose ``host`` is: the value of the Host field, empty for a request of HTTP/1.0 without one.

        Such a request, and one that names an address, is for the hub: so health checks ask, which know of no name.
        An address is never an application's, and no page of another site has an address of ours as its origin.
        """
        if not host:
            return HostKind.HUB
        name = host_name(host)
        if name in self.names or is_address(name):
            return HostKind.HUB
        if self.apps_domain is not None and name.endswith(f".{self.apps_domain}"):
            return HostKind.APPLICATION
        _, _, parent = name.partition(".")
        return HostKind.HUB if parent and f"*.{parent}" in self.names else HostKind.OTHER


@lru_cache(maxsize=1024)
def is_address(name: str) -> bool:
    kind = IPv6Address if ":" in name else IPv4Address
    try:
        kind(name)
    except AddressValueError:
        return False
    return True
