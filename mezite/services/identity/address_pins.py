# SPDX-License-Identifier: Apache-2.0
"""Credentials that are good from some addresses only."""

from __future__ import annotations

from mezite.core.certificates.source_address import client_address as parse_client_address
from mezite.core.certificates.source_address import parse_source_addresses, source_address_matches
from mezite.net.addresses import split_host_port

__all__ = ["is_pinned_here", "own_block"]


def own_block(client_address: str) -> str:
    """Return the address of `ip:port` as a block to pin to; empty when it is no address."""
    try:
        return str(parse_client_address(split_host_port(client_address, 0)[0]))
    except ValueError:
        return ""


def is_pinned_here(pinned_to: str, client_address: str) -> bool:
    """Whether the peer at `ip:port` is in the blocks of `pinned_to`; nobody is in none."""
    here = own_block(client_address)
    return bool(pinned_to and here) and source_address_matches(parse_source_addresses(pinned_to), here)
