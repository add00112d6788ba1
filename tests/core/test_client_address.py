# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.client_address import real_client, source_of

TRUSTED = [ip_network(text) for text in ("10.0.0.0/8", "127.0.0.0/8", "fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "values", "expected"),
    [
        ("10.0.0.1", [b"192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", [b"192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", [b"6.6.6.6, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", [b"6.6.6.6", b"192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", [b"192.0.2.7:1234"], "192.0.2.7"),
        ("10.0.0.1", [b"[2001:db8::1]:1234"], "2001:db8::1"),
        ("10.0.0.1", [b"[2001:db8::1]"], "2001:db8::1"),
        ("10.0.0.1", [b"2001:db8::1"], "2001:db8::1"),
        ("10.0.0.1", [b"\t192.0.2.7 "], "192.0.2.7"),
        ("10.0.0.1", [b"::ffff:192.0.2.7"], "192.0.2.7"),
        ("fd00::1", [b"192.0.2.7"], "192.0.2.7"),
        ("::ffff:10.0.0.1", [b"192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", [b"10.0.0.9, 10.0.0.2"], "10.0.0.9"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [b"unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"192.0.2.7, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"192.0.2.7, unknown, 10.0.0.3"], "10.0.0.3"),
        ("10.0.0.1", [b"192.0.2.256"], "10.0.0.1"),
        ("10.0.0.1", [b"192.0.2.07"], "10.0.0.1"),
        ("10.0.0.1", [b":::"], "10.0.0.1"),
        ("10.0.0.1", [b"fe80::1%eth0"], "10.0.0.1"),
        ("10.0.0.1", [b"192.0.2.7;192.0.2.8"], "10.0.0.1"),
        ("10.0.0.1", [b"\xff"], "10.0.0.1"),
        ("8.8.8.8", [b"192.0.2.7"], "8.8.8.8"),
        ("::ffff:8.8.8.8", [b"192.0.2.7"], "8.8.8.8"),
    ],
)
def test_the_right_most_hop_that_is_not_ours(peer: str, values: list[bytes], expected: str) -> None:
    """Threat D7."""
    assert real_client(ip_address(peer), values, TRUSTED) == ip_address(expected)


def test_a_long_list_is_read_from_its_right_end() -> None:
    values = [b"6.6.6.6"] + [b"10.0.0.2"] * 40
    assert real_client(ip_address("10.0.0.1"), values, TRUSTED) == ip_address("10.0.0.2")


@given(st.lists(st.binary(max_size=60), max_size=4))
def test_nothing_an_untrusted_peer_says_matters(values: list[bytes]) -> None:
    assert real_client(ip_address("192.0.2.1"), values, TRUSTED) == ip_address("192.0.2.1")


@given(st.binary(max_size=60), st.ip_addresses(v=4))
def test_what_the_client_wrote_is_behind_what_the_balancer_saw(forged: bytes, seen: object) -> None:
    """Whatever stands on the left, the balancer's own entry decides, unless it names one of us."""
    address = ip_address(str(seen))
    if any(address in network for network in TRUSTED if network.version == 4):
        return
    assert real_client(ip_address("10.0.0.1"), [forged + b", " + str(seen).encode()], TRUSTED) == address


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7:1234", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[2001:db8:1:2:3::4]:1234", "2001:db8:1:2::/64"),
        ("[::ffff:192.0.2.7]:1", "192.0.2.7"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("unknown:0", "unknown:0"),
        ("", ""),
    ],
)
def test_one_customer_is_one_source(address: str, source: str) -> None:
    assert source_of(address) == source
