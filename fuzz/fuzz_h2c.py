# SPDX-License-Identifier: Apache-2.0
"""Claim: a cleartext connection is HTTP/2, an upgrade that h2 takes, a plain request or a refusal; it is decided
within the budget; no byte is lost or served twice; and how the bytes are cut into pieces changes nothing.

Allowed exceptions: RemoteProtocolError, from ``next_event``.
"""

import base64

import h2.config
import h2.connection

from mezite.core.errors import RemoteProtocolError
from mezite.core.h2c import MAX_UPGRADE_BODY, H2cDetector, PlainRequest, PriorKnowledge, UpgradeRequest
from mezite.core.http1.request_head import MAX_HEAD_BYTES

STATUSES = (0, 400, 411, 413, 414, 417, 431, 501, 505)
Outcome = tuple[object, ...]


def outcome_of(data: bytes, piece: int) -> tuple[Outcome, bytes]:
    """What was decided, and the bytes that are left for HTTP/2."""
    detector = H2cDetector()
    for start in range(0, len(data), piece):
        detector.receive_data(data[start : start + piece])
        later = data[start + piece :]
        try:
            event = detector.next_event()
        except RemoteProtocolError as error:
            if error.code not in STATUSES:
                raise
            return ("refused",), b""
        match event:
            case PriorKnowledge(data=seen):
                return ("prior",), seen + later
            case PlainRequest(head=head):
                return ("plain", head), b""
            case UpgradeRequest():
                return ("upgrade", event.settings, event.fields, event.body), event.rest + later
    return ("waiting",), b""


def check(data: bytes) -> None:
    """The first byte says how the rest, which is what a client sends, is cut."""
    piece, wire = max(1, data[0] if data else 1), data[1:]
    whole, left = outcome_of(wire, max(1, len(wire)))
    assert outcome_of(wire, piece) == (whole, left)
    if whole == ("waiting",):
        assert len(wire) < MAX_HEAD_BYTES + MAX_UPGRADE_BODY
    elif whole == ("prior",):
        assert left == wire
    elif whole[0] == "upgrade":
        _, settings, fields, body = whole
        assert isinstance(settings, bytes)
        assert isinstance(body, bytes)
        assert wire.endswith(body + left)
        check_fields(fields)
        server = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        server.initiate_upgrade_connection(base64.urlsafe_b64encode(settings))


def check_fields(fields: object) -> None:
    assert isinstance(fields, tuple)
    names = [name for name, _ in fields]
    assert names[:4] == [b":method", b":scheme", b":path", b":authority"]
    for forbidden in (
        b"host",
        b"connection",
        b"upgrade",
        b"http2-settings",
        b"transfer-encoding",
        b"keep-alive",
    ):
        assert forbidden not in names
    assert all(name == name.lower() for name in names)
