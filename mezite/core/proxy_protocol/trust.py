# SPDX-License-Identifier: Apache-2.0
"""Whose word about a client's address is taken: decided once for each connection, from the socket's peer."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from mezite.core.errors import LocalProtocolError

__all__ = ["HeaderPolicy", "ProxyMode", "TrustPolicy"]

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address


class ProxyMode(enum.Enum):
    """`proxy.proxy_protocol`."""

    OFF = "off"
    """No header is read: what looks like one is payload."""
    ON = "on"
    """Trusted peers may send one."""
    REQUIRE = "require"
    """Only trusted peers that send one are served."""


class HeaderPolicy(enum.Enum):
    """What to do with one connection."""

    IGNORE = "ignore"
    """Do not look for a header."""
    ALLOW = "allow"
    """Take one if it is there; else the socket's address counts (section 2 of the specification forbids guessing,
    the product asks for it: health probes of the cluster's own network send none)."""
    REQUIRE = "require"
    """Refuse the connection without one."""
    REFUSE_HEADER = "refuse header"
    """Serve it as it is, but close and audit it if it sends one: it has no business to (threat C1)."""
    REFUSE = "refuse"
    """Close it."""


class TrustPolicy:
    """The mode and the networks whose headers are believed.

    :raises LocalProtocolError: when made with ON or REQUIRE and no network, or one that is everybody (threat C1).
    """

    def __init__(self, mode: ProxyMode, trusted: Iterable[Network]) -> None:
        self._mode = mode
        self._trusted = tuple(_unmapped_network(network) for network in trusted)
        if mode is ProxyMode.OFF:
            return
        if not self._trusted:
            raise LocalProtocolError("the PROXY protocol is on but no peer is trusted")
        if any(network.prefixlen == 0 for network in self._trusted):
            raise LocalProtocolError("a /0 among the trusted networks lets anyone choose a client address")

    def decide(self, peer: Address) -> HeaderPolicy:
        """Return what to do with a connection from `peer`, the socket's own address."""
        if self._mode is ProxyMode.OFF:
            return HeaderPolicy.IGNORE
        trusted = self.trusts(peer)
        if self._mode is ProxyMode.REQUIRE:
            return HeaderPolicy.REQUIRE if trusted else HeaderPolicy.REFUSE
        return HeaderPolicy.ALLOW if trusted else HeaderPolicy.REFUSE_HEADER

    def trusts(self, peer: Address) -> bool:
        """Whether `peer` is in one of the networks; an IPv4-mapped IPv6 address is the IPv4 address it maps."""
        plain = _unmapped(peer)
        return any(plain in network for network in self._trusted if network.version == plain.version)


MAPPED_PREFIX = 96
"""::ffff:0:0/96 (RFC 4291 section 2.5.5.2)."""


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _unmapped_network(network: Network) -> Network:
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is None or network.prefixlen < MAPPED_PREFIX:
        return network
    return ip_network((mapped, network.prefixlen - MAPPED_PREFIX))
