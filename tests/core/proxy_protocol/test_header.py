# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_address

import pytest

from mezite.core.proxy_protocol.header import (
    AddressFamily,
    Command,
    Endpoint,
    ProxyHeader,
    SslClient,
    SslInfo,
    Tlv,
    TlvType,
)


@pytest.mark.parametrize(
    ("address", "text"), [("192.0.2.1", "192.0.2.1:80"), ("2001:db8::1", "[2001:db8::1]:80")]
)
def test_endpoints_as_text(address: str, text: str) -> None:
    assert str(Endpoint(ip_address(address), 80)) == text


def test_the_first_tlv_of_a_type_counts() -> None:
    header = ProxyHeader(
        version=2,
        command=Command.LOCAL,
        family=AddressFamily.UNSPECIFIED,
        tlvs=(Tlv(TlvType.NOOP, b""), Tlv(TlvType.ALPN, b"h2"), Tlv(TlvType.ALPN, b"other")),
    )
    assert header.tlv(TlvType.ALPN) == b"h2"
    assert header.tlv(TlvType.NETNS) is None


@pytest.mark.parametrize(
    ("client", "verify", "expected"),
    [
        (SslClient.SSL, 0, False),
        (SslClient.SSL | SslClient.CERT_CONN, 0, True),
        (SslClient.SSL | SslClient.CERT_SESS, 0, True),
        (SslClient.SSL | SslClient.CERT_CONN, 20, False),
    ],
)
def test_a_verified_client_has_shown_a_certificate(client: SslClient, verify: int, expected: bool) -> None:
    assert SslInfo(client=client, verify=verify, tlvs=()).verified_client is expected
