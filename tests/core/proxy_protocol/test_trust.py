# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from mezite.core.errors import LocalProtocolError
from mezite.core.proxy_protocol.trust import HeaderPolicy, ProxyMode, TrustPolicy

NETWORKS = [ip_network(text) for text in ("10.0.0.0/24", "192.0.2.5/32", "2001:db8::/64")]


@pytest.mark.parametrize(
    ("mode", "peer", "expected"),
    [
        (ProxyMode.OFF, "10.0.0.1", HeaderPolicy.IGNORE),
        (ProxyMode.OFF, "8.8.8.8", HeaderPolicy.IGNORE),
        (ProxyMode.ON, "10.0.0.1", HeaderPolicy.ALLOW),
        (ProxyMode.ON, "10.0.1.1", HeaderPolicy.REFUSE_HEADER),
        (ProxyMode.ON, "192.0.2.5", HeaderPolicy.ALLOW),
        (ProxyMode.ON, "192.0.2.6", HeaderPolicy.REFUSE_HEADER),
        (ProxyMode.ON, "2001:db8::9", HeaderPolicy.ALLOW),
        (ProxyMode.ON, "2001:db9::9", HeaderPolicy.REFUSE_HEADER),
        (ProxyMode.ON, "::ffff:10.0.0.1", HeaderPolicy.ALLOW),
        (ProxyMode.ON, "::ffff:10.0.1.1", HeaderPolicy.REFUSE_HEADER),
        (ProxyMode.REQUIRE, "10.0.0.1", HeaderPolicy.REQUIRE),
        (ProxyMode.REQUIRE, "10.0.1.1", HeaderPolicy.REFUSE),
    ],
)
def test_the_table(mode: ProxyMode, peer: str, expected: HeaderPolicy) -> None:
    """Threat C1."""
    assert TrustPolicy(mode, NETWORKS).decide(ip_address(peer)) is expected


def test_networks_written_as_mapped_ipv6() -> None:
    policy = TrustPolicy(ProxyMode.ON, [ip_network("::ffff:10.0.0.0/120")])
    assert policy.trusts(ip_address("10.0.0.200"))
    assert policy.trusts(ip_address("::ffff:10.0.0.200"))
    assert not policy.trusts(ip_address("10.0.1.1"))


def test_a_network_that_only_contains_the_mapped_ones() -> None:
    policy = TrustPolicy(ProxyMode.ON, [ip_network("::/64")])
    assert policy.trusts(ip_address("::1"))
    assert not policy.trusts(ip_address("10.0.0.1"))


@pytest.mark.parametrize("mode", [ProxyMode.ON, ProxyMode.REQUIRE])
@pytest.mark.parametrize(
    ("networks", "why"),
    [
        ([], "the PROXY protocol is on but no peer is trusted"),
        (["0.0.0.0/0"], "a /0 among the trusted networks"),
        (["::/0"], "a /0 among the trusted networks"),
        (["::ffff:0:0/96"], "a /0 among the trusted networks"),
        (["10.0.0.0/8", "0.0.0.0/0"], "a /0 among the trusted networks"),
    ],
)
def test_trusting_nobody_or_everybody_is_refused(mode: ProxyMode, networks: list[str], why: str) -> None:
    """Threat C1."""
    with pytest.raises(LocalProtocolError, match=f"^{why}"):
        TrustPolicy(mode, [ip_network(text) for text in networks])


def test_off_needs_no_networks() -> None:
    assert TrustPolicy(ProxyMode.OFF, []).decide(ip_address("192.0.2.1")) is HeaderPolicy.IGNORE
