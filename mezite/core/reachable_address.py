# SPDX-License-Identifier: Apache-2.0
"""Which addresses a hub may call for others: an administrator's URL must not open what only the hub can reach.

The public Internet always; private networks and this machine where somebody has said so; what no server is at, and
where clouds hand out credentials (link-local), never. Threat: server-side request forgery.
"""

import ipaddress

__all__ = ["why_unreachable"]

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

PRIVATE = tuple(
    map(
        ipaddress.ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "127.0.0.0/8",
            "100.64.0.0/10",
            "fc00::/7",
            "fec0::/10",
            "64:ff9b:1::/48",
            "::1/128",
        ),
    )
)
"""Where servers of one's own are: RFC 1918, 6598, 4193, loopback, the site-local addresses of RFC 3513, and what a
translator of one's own makes of any IPv4 address (RFC 8215)."""

CARRIES_IPV4 = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "::/96", "::ffff:0:0:0/96")))
"""The last 32 bits are an IPv4 address: RFC 6052, RFC 4291 section 2.5.5.1, RFC 2765."""

NO_IPV4 = frozenset(map(ipaddress.ip_address, ("::", "::1")))


def why_unreachable(address: str, *, allow_private: bool) -> str:
    """Why the hub does not call ``address``; empty when it does."""
    try:
        # A scope (fe80::1%eth0) makes no address reachable that is not.
        parsed = real_address(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return f"{address!r} is not an address"
    if any(parsed in network for network in PRIVATE):
        return "" if allow_private else f"{address} is in a private network"
    if parsed.is_global and not parsed.is_multicast:
        return ""
    return f"{address} is not an address that servers have"


def real_address(address: Address) -> Address:
    """The IPv4 address that an IPv6 one leads to, where it does: ``::ffff:127.0.0.1`` is this machine."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address not in NO_IPV4 and any(address in network for network in CARRIES_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
