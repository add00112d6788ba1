# SPDX-License-Identifier: Apache-2.0
"""What clients are told to dial (threat D7: never what a Host header says)."""

import pytest

from mezite.core.secret import Secret
from mezite.services.public_addresses import PublicAddresses

BOUND = {"web": "0.0.0.0:3080", "ssh": "0.0.0.0:3023", "tunnel": "[::]:3024", "auth": "127.0.0.1:3025"}


def test_before_anything_is_bound():
    addresses = PublicAddresses(None)
    assert addresses.advertised() == {}
    assert addresses.web_url() == "https://localhost:3080"


def test_without_a_public_address():
    addresses = PublicAddresses(None)
    addresses.bound(BOUND)
    assert addresses.advertised() == {
        "web": "localhost:3080",
        "ssh": "localhost:3023",
        "tunnel": "localhost:3024",
        "auth": "127.0.0.1:3025",
    }
    assert addresses.web_url() == "https://localhost:3080"


@pytest.mark.parametrize(
    ("public", "web", "ssh", "url"),
    [
        ("hub.example.com", "hub.example.com:443", "hub.example.com:3023", "https://hub.example.com"),
        (
            "hub.example.com:8443",
            "hub.example.com:8443",
            "hub.example.com:3023",
            "https://hub.example.com:8443",
        ),
        ("[2001:db8::1]", "[2001:db8::1]:443", "[2001:db8::1]:3023", "https://[2001:db8::1]"),
        ("[2001:db8::1]:8443", "[2001:db8::1]:8443", "[2001:db8::1]:3023", "https://[2001:db8::1]:8443"),
        ("192.0.2.1", "192.0.2.1:443", "192.0.2.1:3023", "https://192.0.2.1"),
    ],
)
def test_with_a_public_address(public, web, ssh, url):
    addresses = PublicAddresses(public)
    addresses.bound(BOUND)
    assert (addresses.advertised()["web"], addresses.advertised()["ssh"]) == (web, ssh)
    assert addresses.web_url() == url


def test_on_a_single_port_the_public_address_is_everybodys():
    addresses = PublicAddresses("hub.example.com:8443")
    addresses.bound(
        dict.fromkeys(("web", "ssh", "tunnel", "auth"), "0.0.0.0:443") | {"diag": "127.0.0.1:3081"}
    )
    everywhere = "hub.example.com:8443"
    assert addresses.advertised() == {
        "web": everywhere,
        "ssh": everywhere,
        "tunnel": everywhere,
        "auth": everywhere,
        "diag": "hub.example.com:3081",
    }


def test_a_public_address_says_nothing_of_a_port_that_is_not_bound():
    addresses = PublicAddresses("hub.example.com")
    addresses.bound({"auth": "127.0.0.1:3025"})
    assert addresses.advertised() == {"auth": "hub.example.com:3025"}


def test_an_ipv6_address_that_is_bound_keeps_its_brackets():
    addresses = PublicAddresses(None)
    addresses.bound({"web": "[::1]:3080"})
    assert addresses.web_url() == "https://[::1]:3080"


def test_what_is_no_address_is_refused():
    with pytest.raises(ValueError, match="https"):
        PublicAddresses("https://hub.example.com/")


def test_an_invite_stands_in_the_fragment():
    """Threat D23: no server and no Referer sees it."""
    addresses = PublicAddresses("hub.example.com")
    addresses.bound(BOUND)
    assert addresses.invite_url(Secret("abc")) == "https://hub.example.com/invite#abc"
