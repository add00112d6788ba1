# SPDX-License-Identifier: Apache-2.0
"""How a connection without TLS comes to speak HTTP/2, or does not (threat D13).

A client may begin with the preface of HTTP/2 at once (RFC 9113 section 3.3), or ask for it in a request of
HTTP/1.1 (RFC 7540 section 3.2, which RFC 9113 dropped and curl and nghttp still use). Or it speaks plain HTTP/1,
and somebody should tell it what this port is.

The request of an upgrade becomes stream 1, so two protocols have to agree where it ends. That is where requests
were smuggled (CVE-2022-41721: a body that nobody had read was taken for frames). So: the strict gate reads the head,
what an upgrade needs is there exactly once, and a body, which ``curl --http2 -d`` does send, has a Content-Length and
is here in full before anything is answered.
"""

import base64
import re
import struct
from collections.abc import Iterable
from typing import Final

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.http1.request_head import Fields, RequestHead, RequestHeadReader, parse_request_head
from mezite.core.protocol_sniffer import NEED_DATA, NeedData, Protocol, sniff

__all__ = [
    "MAX_UPGRADE_BODY",
    "MAX_UPGRADE_SETTINGS",
    "H2cDetector",
    "H2cEvent",
    "PlainRequest",
    "PriorKnowledge",
    "UpgradeRequest",
]

MAX_UPGRADE_BODY: Final = 32 * 1024
"""Bytes. With the largest head, and what is read behind the body, it stays in the 64 KiB that a peer may send before
it is established. Who has more to say begins with HTTP/2."""

MAX_UPGRADE_SETTINGS: Final = 32
"""As many as in a SETTINGS frame; seven are defined."""

SETTING = struct.Struct(">HL")
SETTING_CHARACTERS = 8
SETTINGS = re.compile(rb"(?:[A-Za-z0-9_-]{8})+")
"""A setting has six bytes, which are eight characters: padding never occurs."""

LARGEST_WINDOW = 2**31 - 1
SETTING_RANGES: Final = {
    2: (0, 1),  # ENABLE_PUSH
    4: (0, LARGEST_WINDOW),  # INITIAL_WINDOW_SIZE
    5: (2**14, 2**24 - 1),  # MAX_FRAME_SIZE
    8: (0, 1),  # ENABLE_CONNECT_PROTOCOL (RFC 8441)
}
"""RFC 9113 section 6.5.2; other settings take any value."""

INSTEAD = "begin with HTTP/2 instead (curl: --http2-prior-knowledge)"

LEFT_BEHIND = frozenset(
    {b"host", b"te", b"connection", b"upgrade", b"http2-settings", b"keep-alive", b"proxy-connection"}
)
"""What HTTP/2 says in another way or not at all (RFC 9113 section 8.2.2)."""


@attrs.frozen
class PriorKnowledge:
    """The client speaks HTTP/2 already."""

    data: bytes
    """everything received so far: the beginning of the connection"""


@attrs.frozen(kw_only=True)
class UpgradeRequest:
    """Answer 101, then go on in HTTP/2 with this request as stream 1."""

    settings: bytes
    """the payload of a SETTINGS frame, whose values are allowed"""
    fields: Fields
    """the request as the fields of HTTP/2, pseudo-fields first"""
    body: bytes = b""
    """all of it"""
    rest: bytes = b""
    """what came behind it: the beginning of the client's HTTP/2"""


@attrs.frozen
class PlainRequest:
    """HTTP/1 without the wish for anything else."""

    head: RequestHead


H2cEvent = PriorKnowledge | UpgradeRequest | PlainRequest


class H2cDetector:
    """The first bytes of a connection in, one event out, which repeats.

    The event depends on the bytes and not on how they arrive, but for what is left over: ``data`` and ``rest`` are
    what was received until then.
    """

    def __init__(self) -> None:
        self._seen = bytearray()
        self._heads: RequestHeadReader | None = None
        self._upgrade: UpgradeRequest | None = None
        self._body_size = 0
        self._event: H2cEvent | None = None
        self._error: RemoteProtocolError | None = None

    def receive_data(self, data: bytes | bytearray) -> None:
        """Bytes from the client.

        Raises :exc:`LocalProtocolError` once there was an event or an error: they are somebody else's to read.
        """
        if self._event is not None or self._error is not None:
            raise LocalProtocolError("what the client speaks is decided")
        if self._heads is None or self._upgrade is not None:
            self._seen += data
        else:
            self._heads.receive_data(data)

    def next_event(self) -> H2cEvent | NeedData:
        """What the client wants, or NEED_DATA.

        Raises :exc:`RemoteProtocolError`, again and again: its code is the HTTP status to answer and its message may
        be sent; with code 0 the peer does not speak HTTP, and there is nothing to say.
        """
        if self._error is not None:
            raise RemoteProtocolError(str(self._error), self._error.code)
        if self._event is None:
            try:
                self._event = self._detect()
            except RemoteProtocolError as error:
                self._error = error
                raise
        return NEED_DATA if self._event is None else self._event

    def _detect(self) -> H2cEvent | None:
        if self._heads is None:
            protocol = sniff(bytes(self._seen))
            if protocol is NEED_DATA:
                return None
            if protocol is Protocol.HTTP2_PRIOR_KNOWLEDGE:
                return PriorKnowledge(bytes(self._seen))
            if protocol is not Protocol.HTTP1:
                raise RemoteProtocolError("this is not HTTP")
            self._heads = RequestHeadReader()
            self._heads.receive_data(self._seen)
        if self._upgrade is None:
            raw = self._heads.next_head()
            if raw is None:
                return None
            head = parse_request_head(raw, asterisk_form=True)
            if not wants_h2c(head):
                return PlainRequest(head)
            self._upgrade = check_upgrade(head)
            self._body_size = head.content_length or 0
            self._seen[:] = self._heads.take_rest()
        return self._finish(self._upgrade)

    def _finish(self, upgrade: UpgradeRequest) -> UpgradeRequest | None:
        if len(self._seen) < self._body_size:
            return None
        body, rest = bytes(self._seen[: self._body_size]), bytes(self._seen[self._body_size :])
        return attrs.evolve(upgrade, body=body, rest=rest)


def wants_h2c(head: RequestHead) -> bool:
    """Whether the client asks for the upgrade; HTTP/1.0 cannot (RFC 9110 section 7.8)."""
    return head.minor_version == 1 and b"h2c" in head.tokens(b"upgrade")


def check_upgrade(head: RequestHead) -> UpgradeRequest:
    """The upgrade that was asked for, without its body; refuses what is not entirely in order."""
    if not {b"upgrade", b"http2-settings"} <= head.tokens(b"connection"):
        raise RemoteProtocolError("Upgrade: h2c needs Connection: Upgrade, HTTP2-Settings", 400)
    settings = settings_payload(head)
    if head.chunked:
        raise RemoteProtocolError(
            f"a body that comes with Upgrade: h2c needs a Content-Length; {INSTEAD}", 411
        )
    if (head.content_length or 0) > MAX_UPGRADE_BODY:
        raise RemoteProtocolError(
            f"a body that comes with Upgrade: h2c may have {MAX_UPGRADE_BODY} bytes; {INSTEAD}", 413
        )
    if head.field(b"expect") is not None:
        raise RemoteProtocolError(f"Upgrade: h2c and Expect do not go together; {INSTEAD}", 417)
    return UpgradeRequest(settings=settings, fields=tuple(http2_fields(head)))


def settings_payload(head: RequestHead) -> bytes:
    """The decoded HTTP2-Settings, of which there must be one with allowed values."""
    values = [value for name, value in head.fields if name == b"http2-settings"]
    if len(values) != 1:
        raise RemoteProtocolError("Upgrade: h2c needs exactly one HTTP2-Settings", 400)
    [value] = values
    if SETTINGS.fullmatch(value) is None or len(value) > MAX_UPGRADE_SETTINGS * SETTING_CHARACTERS:
        raise RemoteProtocolError(
            f"HTTP2-Settings is not 1 to {MAX_UPGRADE_SETTINGS} settings in base64url without padding", 400
        )
    payload = base64.urlsafe_b64decode(value)
    for code, setting in SETTING.iter_unpack(payload):
        lowest, highest = SETTING_RANGES.get(code, (0, 2**32 - 1))
        if not lowest <= setting <= highest:
            raise RemoteProtocolError(f"HTTP2-Settings gives setting {code} the value {setting}", 400)
    return payload


def http2_fields(head: RequestHead) -> Iterable[tuple[bytes, bytes]]:
    """The head of an HTTP/1.1 request as a field block of HTTP/2 (RFC 9113 section 8.3.1)."""
    yield b":method", head.method
    yield b":scheme", b"http"
    yield b":path", head.target
    yield b":authority", head.host
    nominated = head.tokens(b"connection")
    for name, value in head.fields:
        if name == b"te" and value.lower() == b"trailers":
            yield name, b"trailers"
        elif name not in LEFT_BEHIND and name not in nominated:
            yield name, value
