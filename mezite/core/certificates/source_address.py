# SPDX-License-Identifier: Apache-2.0
"""The ``source-address`` option of a certificate: a comma-separated list of CIDR blocks, matched
byte-strictly.

Python's ipaddress is lenient where OpenSSH is not and the other way round (threat P20), so text is held
against a pattern first. Refused though OpenSSH might take it: host bits set, IPv4 mapped into IPv6, zone
ids.
"""

import ipaddress
import re

__all__ = [
    "InvalidAddressError",
    "client_address",
    "parse_address",
    "parse_source_addresses",
    "source_address_matches",
]

OCTET = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
IPV4 = re.compile(rf"{OCTET}(?:\.{OCTET}){{3}}", re.ASCII)
IPV6 = re.compile(r"[0-9A-Fa-f:]{2,39}", re.ASCII)
MAPPED = re.compile(r"::[Ff]{4}:([0-9.]+)", re.ASCII)
PREFIX = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)

MAX_BLOCKS = 64
"""A pinned certificate has one; a list for several offices a dozen."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class InvalidAddressError(ValueError):
    """Text is not an address or CIDR block in the accepted form."""


def parse_address(text: str) -> Address:
    """An IPv4 or IPv6 address without port, brackets or zone. Raises InvalidAddressError."""
    try:
        if IPV4.fullmatch(text):
            return ipaddress.IPv4Address(text)
        if IPV6.fullmatch(text):
            return ipaddress.IPv6Address(text)
    except ValueError:
        pass
    raise InvalidAddressError(f"{text!r} is not an IP address")


def client_address(text: str) -> Address:
    """The address of a peer without port; IPv4 mapped into IPv6 (``::ffff:192.0.2.1``) becomes IPv4.

    Raises InvalidAddressError: host names, zone ids, brackets, leading zeros and whatever else is no address.
    """
    mapped = MAPPED.fullmatch(text)
    address = parse_address(mapped.group(1) if mapped else text)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_source_addresses(text: str) -> tuple[Network, ...]:
    """The blocks of ``192.0.2.0/24,2001:db8::1``; an address without prefix is one host.

    Raises InvalidAddressError: empty, one bad block (then nothing is matched at all), more than 64 blocks.
    """
    parts = text.split(",")
    if len(parts) > MAX_BLOCKS:
        raise InvalidAddressError(f"more than {MAX_BLOCKS} address blocks")
    return tuple(parse_block(part) for part in parts)


def parse_block(text: str) -> Network:
    host, slash, prefix = text.partition("/")
    address = parse_address(host)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise InvalidAddressError(f"write {text!r} as an IPv4 block")
    length = int(prefix) if PREFIX.fullmatch(prefix) else -1
    if not slash:
        length = address.max_prefixlen
    if not 0 <= length <= address.max_prefixlen:
        raise InvalidAddressError(f"{text!r} has no valid prefix length")
    try:
        return ipaddress.ip_network(f"{address}/{length}")
    except ValueError:
        raise InvalidAddressError(f"{text!r} has bits set beyond its prefix") from None


def source_address_matches(blocks: tuple[Network, ...], address: str) -> bool:
    """Whether the peer at ``address`` (see client_address) is in one of ``blocks``; False when it is no
    address.
    """
    try:
        peer = client_address(address)
    except InvalidAddressError:
        return False
    return any(peer in block for block in blocks)
