# SPDX-License-Identifier: Apache-2.0
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.certificates.source_address import (
    InvalidAddressError,
    client_address,
    parse_source_addresses,
    source_address_matches,
)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:DB8::1", "2001:db8::1"),
        ("::", "::"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::FFFF:c000:207", "192.0.2.7"),
        ("0:0:0:0:0:ffff:c000:207", "192.0.2.7"),
    ],
)
def test_clients(text, address):
    assert client_address(text) == ipaddress.ip_address(address)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "localhost",
        "192.0.2",
        "192.0.2.256",
        "192.0.2.07",
        "1.2.3.4 ",
        "1.2.3.4\n",
        "1.2.3.4:22",
        "0x7f.0.0.1",
        "127.1",
        "2130706433",
        "[::1]",
        "::1%eth0",
        ":::",
        "1::2::3",
        "::1.2.3.4",
        "::ffff:1.2.3.256",
        "٣.0.0.1",
        "g::",
    ],
)
def test_what_is_no_address_p20(text):
    with pytest.raises(InvalidAddressError):
        client_address(text)


@pytest.mark.parametrize(
    ("blocks", "address", "matches"),
    [
        ("10.0.0.0/8", "10.9.9.9", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.4", False),
        ("0.0.0.0/0", "1.2.3.4", True),
        ("0.0.0.0/0", "::1", False),
        ("::/0", "1.2.3.4", False),
        ("2001:db8::/32", "2001:db8:ffff::1", True),
        ("2001:db8::1", "2001:db8::1", True),
        ("192.0.2.0/24,2001:db8::/32", "192.0.2.1", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "nonsense", False),
        ("10.0.0.0/8", "", False),
    ],
)
def test_matching(blocks, address, matches):
    assert source_address_matches(parse_source_addresses(blocks), address) is matches


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an IP address"),
        ("10.0.0.0/8,", "not an IP address"),
        ("10.0.0.0/8, 11.0.0.0/8", "not an IP address"),
        ("10.0.0.0/", "no valid prefix"),
        ("10.0.0.0/33", "no valid prefix"),
        ("10.0.0.0/08", "no valid prefix"),
        ("10.0.0.0/+8", "no valid prefix"),
        ("10.0.0.0/255.0.0.0", "no valid prefix"),
        ("10.0.0.1/8", "bits set beyond"),
        ("2001:db8::1/32", "bits set beyond"),
        ("::1/129", "no valid prefix"),
        ("::ffff:a00:0/104", "as an IPv4 block"),
        ("!10.0.0.1", "not an IP address"),
        (",".join(["10.0.0.1"] * 65), "more than 64"),
    ],
)
def test_bad_lists_match_nothing_at_all(text, why):
    with pytest.raises(InvalidAddressError, match=why):
        parse_source_addresses(text)


def test_as_many_blocks_as_allowed():
    blocks = parse_source_addresses(",".join(f"10.0.0.{number}" for number in range(64)))
    assert source_address_matches(blocks, "10.0.0.63")


@given(st.ip_addresses(), st.integers(0, 128))
def test_an_address_is_in_each_of_its_networks(address, length):
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped:
        return
    network = ipaddress.ip_network(f"{address}/{min(length, address.max_prefixlen)}", strict=False)
    if network.version == 6 and network.network_address.ipv4_mapped:
        return
    assert source_address_matches(parse_source_addresses(str(network)), str(address))
