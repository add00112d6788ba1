# SPDX-License-Identifier: Apache-2.0
"""Which protocol a connection speaks, from the first bytes its client sends.

Used where one port serves several protocols, and at every door to tell who knocks at the wrong one. The
answer depends on the bytes alone, not on how they arrive: more bytes never change a decision once made.
"""

import enum
import re
from typing import Final

__all__ = ["MAX_SNIFFED_BYTES", "NEED_DATA", "NeedData", "Protocol", "sniff"]


class Protocol(enum.Enum):
    """What a client speaks."""

    TLS = "tls"
    """A TLS handshake record (RFC 8446 section 5.1)."""
    SSH = "ssh"
    """An identification string (RFC 4253 section 4.2)."""
    HTTP2_PRIOR_KNOWLEDGE = "http2-prior-knowledge"
    """The connection preface of HTTP/2 without TLS (RFC 9113 section 3.4)."""
    HTTP1 = "http1"
    """A request line (RFC 9112 section 3)."""
    PROXY_HEADER = "proxy-header"
    """A PROXY protocol header where none is expected: a load balancer is configured otherwise."""
    UNKNOWN = "unknown"


class NeedData(enum.Enum):
    """The type of NEED_DATA."""

    NEED_DATA = "NEED_DATA"


NEED_DATA: Final = NeedData.NEED_DATA
"""More bytes are needed; at the latest MAX_SNIFFED_BYTES decide."""

SSH_PREFIX = b"SSH-"
HTTP2_PREFACE = b"PRI * HTTP/2.0\r\n"
PROXY_V1 = b"PROXY "
PROXY_V2 = b"\r\n\r\n\x00\r\nQUIT\n"
FIXED = (
    (SSH_PREFIX, Protocol.SSH),
    (HTTP2_PREFACE, Protocol.HTTP2_PRIOR_KNOWLEDGE),
    (PROXY_V1, Protocol.PROXY_HEADER),
    (PROXY_V2, Protocol.PROXY_HEADER),
)

TLS_HANDSHAKE = 22
TLS_MAX_MINOR = 4

MAX_METHOD = 20
"""The longest registered HTTP method, UPDATEREDIRECTREF, has 17 letters."""

METHOD = re.compile(rb"[A-Z][A-Z-]*", re.ASCII)
TARGET_STARTS = b"/*hH"
"""A path, ``*``, or an absolute URL; CONNECT has an authority, which may start with anything but a space."""

MAX_SNIFFED_BYTES = MAX_METHOD + 2
"""A method, the space and the first byte of the target; every other protocol is decided sooner."""


def sniff(data: bytes) -> Protocol | NeedData:
    """The protocol of a connection that began with ``data``, or NEED_DATA while two are still possible.

    HTTP methods are upper-case words: ``get`` is UNKNOWN, as no client sends it.
    """
    if not data:
        return NEED_DATA
    if data[0] == TLS_HANDSHAKE:
        return sniff_tls(data)
    waiting = False
    for prefix, protocol in FIXED:
        if data.startswith(prefix):
            return protocol
        waiting = waiting or prefix.startswith(data)
    return NEED_DATA if waiting else sniff_http1(data)


def sniff_tls(data: bytes) -> Protocol | NeedData:
    if len(data) > 1 and data[1] != 3:
        return Protocol.UNKNOWN
    if len(data) < 3:
        return NEED_DATA
    return Protocol.TLS if data[2] <= TLS_MAX_MINOR else Protocol.UNKNOWN


def sniff_http1(data: bytes) -> Protocol | NeedData:
    method, _space, target = data[:MAX_SNIFFED_BYTES].partition(b" ")
    if METHOD.fullmatch(method) is None or len(method) > MAX_METHOD:
        return Protocol.UNKNOWN
    if not target:
        return NEED_DATA
    if method == b"CONNECT":
        return Protocol.UNKNOWN if target[:1].isspace() else Protocol.HTTP1
    return Protocol.HTTP1 if target[0] in TARGET_STARTS else Protocol.UNKNOWN
