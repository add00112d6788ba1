# SPDX-License-Identifier: Apache-2.0
"""Signed lists of CAs as messages, and what a client makes of a bundle that it is given."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from mezite.api.pb.mezite.v1 import authorities_pb2 as pb
from mezite.core.certificates.continuation import SignedTrust, follow
from mezite.core.certificates.trust_bundle import BadTrustError, key_id_of_certificate
from mezite.core.errors import ExplainedError

__all__ = ["ApiConnectError", "check_pin", "received_trust", "signed_trust"]


class ApiConnectError(ExplainedError):
    """The gRPC port could not be used: `what`, `why`, and a `hint` what to do."""


def signed_trust(lists: Iterable[SignedTrust]) -> list[pb.SignedTrust]:
    """Return the lists as messages."""
    return [pb.SignedTrust(document=one.document, signatures=dict(one.signatures)) for one in lists]


def received_trust(messages: Iterable[pb.SignedTrust]) -> list[SignedTrust]:
    """Return the messages as lists."""
    return [SignedTrust(document=one.document, signatures=dict(one.signatures)) for one in messages]


def check_pin(
    pems: Sequence[str],
    trust: Sequence[SignedTrust],
    pin: str,
    address: str,
    *,
    now: int | None = None,
) -> tuple[bytes, ...]:
    """Return the host CAs out of an untrusted answer that `pin` speaks for: directly, or by what its key has signed.

    `now` is in seconds since 1970, None the machine's own clock. The CAs are PEM, each ending in a newline.

    :raises ApiConnectError: there is none.
    """
    pins = _pins(pems)
    # A bundle of several is worth nothing by itself: the pin speaks for one of them only.
    if len(pems) == 1 and pins == [pin]:
        return tuple(pem.encode() for pem in pems)
    try:
        found = follow([pin], trust, now=time.time_ns() // 1_000_000_000 if now is None else now)
    except BadTrustError:
        raise ApiConnectError(
            f"the hub at {address} is not the one that the CA pin names",
            f"its Host CA is sha256:{', sha256:'.join(pins) or 'missing'}, expected sha256:{pin}",
            "check the address and the pin; if nobody changed either, someone is in between",
        ) from None
    return tuple(pem.encode() for pem in found.host_tls_ca_pem)


def _pins(pems: Iterable[str]) -> list[str]:
    try:
        return sorted({key_id_of_certificate(pem) for pem in pems})
    except BadTrustError:
        return []
