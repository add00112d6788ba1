# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for PROXY headers."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import strategies as st

from mezite.core.proxy_protocol.header import AddressFamily, Command, Endpoint, ProxyHeader, Tlv, TlvType

__all__ = ["addressed_headers", "tlvs"]

_PORTS = st.integers(0, 65535)
_SPECIAL = {TlvType.CRC32C, TlvType.SSL}


def tlvs() -> st.SearchStrategy[tuple[Tlv, ...]]:
    """A few TLVs of types that need no particular value."""
    kinds = st.integers(0, 255).filter(lambda kind: kind not in _SPECIAL)
    return st.lists(st.builds(Tlv, kinds, st.binary(max_size=64)), max_size=5).map(tuple)


def addressed_headers(version: int) -> st.SearchStrategy[ProxyHeader]:
    """Headers with both endpoints, of either family."""
    return st.sampled_from([AddressFamily.IPV4, AddressFamily.IPV6]).flatmap(
        lambda family: _of_family(version, family)
    )


def _of_family(version: int, family: AddressFamily) -> st.SearchStrategy[ProxyHeader]:
    if family is AddressFamily.IPV4:
        endpoints = st.builds(Endpoint, st.integers(0, 2**32 - 1).map(IPv4Address), _PORTS)
    else:
        endpoints = st.builds(Endpoint, st.integers(0, 2**128 - 1).map(IPv6Address), _PORTS)
    return st.builds(
        ProxyHeader,
        version=st.just(version),
        command=st.just(Command.PROXY),
        family=st.just(family),
        source=endpoints,
        destination=endpoints,
        tlvs=tlvs() if version == 2 else st.just(()),
    )
