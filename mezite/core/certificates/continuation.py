# SPDX-License-Identifier: Apache-2.0
"""How somebody who knows an older CA of a cluster learns of the ones that followed it.

Every host-TLS CA signs the list of the CAs that are trusted now; one that goes signs the list that it leaves behind,
which is kept. So a pin, or the CA of a login months ago, leads from list to list to the present one, and nobody in
between can lead anywhere else. A list of now carries an end: it cannot be played back after a rotation to make
somebody trust again what was dropped. A last list needs none: it names only what came after its signer.

The signed bytes begin with a name of their own, so that no signature over a certificate is one over a list.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence

import attrs
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from mezite.core.certificates.keys import PrivateKey
from mezite.core.certificates.trust_bundle import (
    BadTrustError,
    ca_certificate,
    key_id_of_certificate,
    key_id_of_line,
)
from mezite.core.certificates.x509_issue import check_tls_key

__all__ = ["ClusterTrust", "SignedTrust", "follow", "sign_trust", "trust_document"]

CONTEXT = b"mezite-trust/1\n"

MAX_DOCUMENT = 64 * 1024
"""Sixteen CAs of each kind have 14 kB."""

MOST_DOCUMENTS = 17
"""The present list and MOST_CONTINUATIONS of storage/trust."""

MOST_SIGNATURES = 16


@attrs.frozen(kw_only=True)
class ClusterTrust:
    """The CAs of a cluster that clients need."""

    cluster: str
    host_tls_ca_pem: tuple[str, ...]
    host_ssh_ca: tuple[str, ...]
    """OpenSSH public key lines."""


@attrs.frozen(kw_only=True)
class SignedTrust:
    """A list and who has signed it."""

    document: str
    signatures: Mapping[str, str]
    """As `sign_trust` writes them, by key id (the pin of the signer)."""


def trust_document(trust: ClusterTrust, *, expires_at: int | None) -> str:
    """The list as text, to be signed; ``expires_at`` in seconds since 1970, None for a last list."""
    return json.dumps(
        {
            "cluster": trust.cluster,
            "expires_at": expires_at,
            "host_ssh_ca": list(trust.host_ssh_ca),
            "host_tls_ca_pem": list(trust.host_tls_ca_pem),
        },
        separators=(",", ":"),
    )


def sign_trust(document: str, key: PrivateKey) -> str:
    """The signature of one CA over a list: ``KEY.SIGNATURE``, both base64, so that a pin alone can check it."""
    message = CONTEXT + document.encode()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        signature = key.sign(message)
    else:
        signature = key.sign(message, ec.ECDSA(hashes.SHA256()))
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return f"{base64.b64encode(public).decode('ascii')}.{base64.b64encode(signature).decode('ascii')}"


def follow(known: Collection[str], offered: Sequence[SignedTrust], *, now: int) -> ClusterTrust:
    """From the pins that are known, by what their keys have signed, to the newest list that they lead to.

    ``offered`` is an untrusted peer's; the order means nothing. ``now`` is in seconds since 1970.

    Raises BadTrustError: none of the lists is signed by a key that is known, or one that leads there is no list.
    """
    pins = frozenset(known)
    left = list(offered)[:MOST_DOCUMENTS]
    reached: ClusterTrust | None = None
    while True:
        step = next((one for one in left if is_signed(one, pins) and in_time(one, now)), None)
        if step is None:
            break
        left.remove(step)
        found = parse(step.document, now)
        if reached is not None and found.cluster != reached.cluster:
            raise BadTrustError("the list of CAs is another cluster's")
        reached = found
        pins = frozenset(key_id_of_certificate(pem) for pem in found.host_tls_ca_pem)
        if expiry(step.document) is not None:
            break
    if reached is None:
        raise BadTrustError("nothing that is offered is signed by a CA that is known here")
    return reached


def is_signed(offered: SignedTrust, pins: Collection[str]) -> bool:
    signatures = list(offered.signatures.items())[:MOST_SIGNATURES]
    return any(pin in pins and verifies(pin, offered.document, text) for pin, text in signatures)


def verifies(pin: str, document: str, text: str) -> bool:
    public, _, signature = text.partition(".")
    message = CONTEXT + document.encode("utf-8", "surrogatepass")
    try:
        key = pinned_key(pin, base64.b64decode(public, validate=True))
        signed = base64.b64decode(signature, validate=True)
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signed, message)
        else:
            key.verify(signed, message, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        return False
    return True


def pinned_key(pin: str, der: bytes) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
    if hashlib.sha256(der).hexdigest() != pin:
        raise ValueError("the key is not the one that the pin names")
    key = check_tls_key(load_der_public_key(der))
    assert not isinstance(key, rsa.RSAPublicKey)  # neither made nor let through
    return key


def in_time(offered: SignedTrust, now: int) -> bool:
    end = expiry(offered.document)
    return end is None or now < end


def expiry(document: str) -> int | None:
    end = fields(document)["expires_at"]
    if end is not None and (not isinstance(end, int) or isinstance(end, bool)):
        raise BadTrustError("the end of the list of CAs is no number")
    return end


def fields(document: str) -> Mapping[str, object]:
    if len(document) > MAX_DOCUMENT:
        raise BadTrustError(f"a list of CAs of {len(document)} characters is refused unread")
    try:
        values = json.loads(document)
    except (ValueError, RecursionError):
        raise BadTrustError("the list of CAs is not JSON") from None
    wanted = {"cluster", "expires_at", "host_ssh_ca", "host_tls_ca_pem"}
    if not isinstance(values, dict) or set(values) != wanted:
        raise BadTrustError("the list of CAs does not have the fields of one")
    return values


def parse(document: str, now: int) -> ClusterTrust:
    values = fields(document)
    cluster = values["cluster"]
    if not isinstance(cluster, str):
        raise BadTrustError("the list of CAs names no cluster")
    pems, lines = strings(values["host_tls_ca_pem"]), strings(values["host_ssh_ca"])
    for pem in pems:
        ca_certificate(pem, now)
    for line in lines:
        key_id_of_line(line)
    return ClusterTrust(cluster=cluster, host_tls_ca_pem=pems, host_ssh_ca=lines)


def strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise BadTrustError("the list of CAs has a part that is no list of texts")
    return tuple(value)
