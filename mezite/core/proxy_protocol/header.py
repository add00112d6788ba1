# SPDX-License-Identifier: Apache-2.0
"""What a PROXY header says: values only."""

from __future__ import annotations

import enum
from ipaddress import IPv4Address, IPv6Address

import attrs

__all__ = ["AddressFamily", "Command", "Endpoint", "ProxyHeader", "SslClient", "SslInfo", "Tlv", "TlvType"]


class Command(enum.Enum):
    """Whose connection it is."""

    LOCAL = 0
    """The balancer's own, a health check: the socket's addresses count, those in the header do not (section 2.2)."""
    PROXY = 1
    """Relayed for someone else."""


class AddressFamily(enum.Enum):
    """What the addresses are."""

    UNSPECIFIED = "unspecified"
    """Not known or not said: version 1's UNKNOWN and version 2's AF_UNSPEC. The socket's addresses count."""
    IPV4 = "ipv4"
    IPV6 = "ipv6"


@attrs.frozen
class Endpoint:
    """One end of a TCP connection."""

    address: IPv4Address | IPv6Address
    port: int
    """0 to 65535."""

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


class TlvType(enum.IntEnum):
    """Types that are registered (section 2.2); others are kept by number."""

    ALPN = 0x01
    AUTHORITY = 0x02
    CRC32C = 0x03
    NOOP = 0x04
    UNIQUE_ID = 0x05
    SSL = 0x20
    SSL_VERSION = 0x21
    SSL_CN = 0x22
    SSL_CIPHER = 0x23
    SSL_SIG_ALG = 0x24
    SSL_KEY_ALG = 0x25
    SSL_GROUP = 0x26
    SSL_SIG_SCHEME = 0x27
    SSL_CLIENT_CERT = 0x28
    NETNS = 0x30


@attrs.frozen
class Tlv:
    """One type-length-value of version 2."""

    type: int
    value: bytes


class SslClient(enum.IntFlag):
    """Bits of the SSL value's client field."""

    SSL = 0x01
    """The client spoke TLS to the balancer."""
    CERT_CONN = 0x02
    """It showed a certificate on this connection."""
    CERT_SESS = 0x04
    """It showed one at least once in this TLS session."""


@attrs.frozen(kw_only=True)
class SslInfo:
    """The SSL value (type 0x20)."""

    client: SslClient
    verify: int
    """0: verified, **or no certificate was shown at all**: look at `verified_client`."""
    tlvs: tuple[Tlv, ...]

    @property
    def verified_client(self) -> bool:
        """Whether the client showed a certificate that the balancer verified; only then does a CN mean anything."""
        return self.verify == 0 and bool(self.client & (SslClient.CERT_CONN | SslClient.CERT_SESS))


@attrs.frozen(kw_only=True)
class ProxyHeader:
    """One header. With `family` UNSPECIFIED or `command` LOCAL there are no endpoints."""

    version: int
    """1 or 2."""
    command: Command
    family: AddressFamily
    source: Endpoint | None = None
    destination: Endpoint | None = None
    tlvs: tuple[Tlv, ...] = ()
    ssl: SslInfo | None = None

    def tlv(self, kind: int) -> bytes | None:
        """Return the value of the first TLV of that type, or None."""
        return next((tlv.value for tlv in self.tlvs if tlv.type == kind), None)
