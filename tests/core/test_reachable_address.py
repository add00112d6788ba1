# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.reachable_address import why_unreachable

PUBLIC = (
    "8.8.8.8",
    "192.0.1.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "::8.8.8.8",
)
PRIVATE = (
    "127.0.0.1",
    "127.8.8.8",
    "10.1.2.3",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "::1",
    "fd00::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2002:a00:1::",
    # IPv4 in IPv6 by way of older and of private translators (RFC 4291 section 2.5.5.1, RFC 2765, RFC 8215).
    "::127.0.0.1",
    "::10.0.0.1",
    "::ffff:0:127.0.0.1",
    "64:ff9b:1::7f00:1",
    "64:ff9b:1:ffff::808:808",
    "fec0::1",
)
NEVER = (
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::",
    "::169.254.169.254",
    "::ffff:0:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "0.0.0.0",
    "0.1.2.3",
    "::",
    "224.0.0.1",
    "ff02::1",
    "ff0e::1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "2001:db8::1",
)


@pytest.mark.parametrize("address", PUBLIC)
def test_public(address):
    assert why_unreachable(address, allow_private=False) == ""
    assert why_unreachable(address, allow_private=True) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_private(address):
    assert why_unreachable(address, allow_private=False) == f"{address} is in a private network"
    assert why_unreachable(address, allow_private=True) == ""


@pytest.mark.parametrize("address", NEVER)
def test_never(address):
    for allowed in (True, False):
        assert (
            why_unreachable(address, allow_private=allowed)
            == f"{address} is not an address that servers have"
        )


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "2130706433", "0x7f000001", "127.0.0.1 "])
def test_what_is_no_address(address):
    assert "is not an address" in why_unreachable(address, allow_private=True)
