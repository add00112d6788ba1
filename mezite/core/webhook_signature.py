# SPDX-License-Identifier: Apache-2.0
"""How a webhook is signed: HMAC-SHA256 over id, time and body, so that a receiver can tell it is ours, fresh and new.

The receiver compares the signature in constant time, refuses what is older than five minutes, and remembers the ids
of the last five minutes.
"""

import hashlib
import hmac

__all__ = ["SIGNATURE_HEADERS", "signature_headers", "signature_is_valid"]

SIGNATURE_HEADERS = ("mezite-webhook-id", "mezite-webhook-timestamp", "mezite-webhook-signature")
VERSION = "v1"


def signature_headers(secret: bytes, delivery_id: str, now: int, body: bytes) -> list[tuple[str, str]]:
    """The headers of a delivery; ``now`` is in seconds since 1970."""
    signature = f"{VERSION}={digest(secret, delivery_id, str(now), body)}"
    return list(zip(SIGNATURE_HEADERS, (delivery_id, str(now), signature), strict=True))


def signature_is_valid(secret: bytes, delivery_id: str, timestamp: str, signature: str, body: bytes) -> bool:
    """Whether these header values go with ``body``; whether it is fresh is for the caller to see."""
    expected = f"{VERSION}={digest(secret, delivery_id, timestamp, body)}"
    return hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogatepass"))


def digest(secret: bytes, delivery_id: str, timestamp: str, body: bytes) -> str:
    signed = b".".join((delivery_id.encode("utf-8"), timestamp.encode("utf-8"), body))
    return hmac.new(secret, signed, hashlib.sha256).hexdigest()
