# SPDX-License-Identifier: Apache-2.0
"""The real client behind HTTP balancers, from a header such as X-Forwarded-For (threat D7).

Every hop appends the address it was called from. What the client itself wrote stands on the left and proves nothing;
so the list is read from the right, and the first address that is not one of our own balancers is the client.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["real_client", "source_of"]

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

MAX_HOPS = 32
"""Real chains have two or three; a longer list is made up, and only its right end is looked at."""

# What balancers write: an address, or an address with a port, IPv6 in brackets when there is one. Anything else
# (`unknown`, obfuscated names, zone ids, octal octets) ends the search.
_IPV4 = re.compile(r"((?:[0-9]{1,3}\.){3}[0-9]{1,3})(?::[0-9]{1,5})?", re.ASCII)
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})", re.ASCII)


def real_client(peer: Address, values: Iterable[bytes], trusted: Collection[Network]) -> Address:
    """Return the address of the client.

    `peer` is the socket's; `values` are the header's values in the order in which they came. From a peer that is not
    in `trusted` the header means nothing. When all hops are trusted the left-most is the client; an entry that is no
    address ends the search, with the last good hop as the answer.
    """
    client = _plain(peer)
    if not _contains(trusted, client):
        return client
    entries = b",".join(values).decode("latin-1").split(",")
    for entry in reversed(entries[-MAX_HOPS:]):
        address = _parse(entry.strip(" \t"))
        if address is None:
            return client
        client = address
        if not _contains(trusted, client):
            return client
    return client


def source_of(client_address: str) -> str:
    """Return what counts as one source: an IPv4 address, or the /64 that one IPv6 customer has.

    `client_address` has a port or has none; what is no address is a source of its own.
    """
    for host in (client_address, client_address.rpartition(":")[0].strip("[]")):
        try:
            address = _plain(ip_address(host))
        except ValueError:
            continue
        return str(address if address.version == 4 else IPv6Network((address, 64), strict=False))
    return client_address


def _parse(text: str) -> Address | None:
    found = _IPV4.fullmatch(text)
    try:
        if found is not None:
            return IPv4Address(found[1])
        found = _IPV6.fullmatch(text)
        return None if found is None else _plain(IPv6Address(found[1] or found[2]))
    except ValueError:
        return None


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _contains(networks: Collection[Network], address: Address) -> bool:
    return any(address in network for network in networks if network.version == address.version)
