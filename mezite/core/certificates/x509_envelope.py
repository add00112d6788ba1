# SPDX-License-Identifier: Apache-2.0
"""The outside of an X.509 certificate (RFC 5280 section 4.1), read by hand: just enough to check who signed
it.

The library's parser is large, lazy and lenient in places (it warns where it should refuse), so it only ever
sees bytes that a CA of ours has signed. This reads DER strictly: definite lengths in their shortest form, no
trailing bytes.
"""

from typing import Final

import attrs
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

__all__ = ["Envelope", "MalformedEnvelopeError", "is_signed_by", "parse_envelope"]

SEQUENCE: Final = 0x30
INTEGER: Final = 0x02
BIT_STRING: Final = 0x03

VERSION_3 = bytes.fromhex("a003020102")
ECDSA_WITH_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
ED25519 = bytes.fromhex("300506032b6570")
"""AlgorithmIdentifiers, complete. No RSA and nothing with SHA-1: our CAs sign with these two."""

MAX_SERIAL_BYTES = 20
"""RFC 5280 section 4.1.2.2."""


class MalformedEnvelopeError(ValueError):
    """Bytes are not a version 3 certificate in DER."""


@attrs.frozen(kw_only=True)
class Envelope:
    """What can be known without looking inside."""

    signed_bytes: bytes
    """TBSCertificate."""
    algorithm: bytes
    """The AlgorithmIdentifier, the same inside and outside."""
    signature: bytes
    serial: int
    issuer: bytes
    """The issuer's name in DER, to be compared with a CA's subject byte by byte."""


class DerReader:
    """Reads one element after another."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.offset = 0

    def read(self, tag: int) -> tuple[bytes, bytes]:
        """The next element: all of it, and its content. Raises MalformedEnvelopeError."""
        start = self.offset
        header = self.data[start : start + 2]
        if len(header) < 2 or header[0] != tag:
            raise MalformedEnvelopeError(f"no element with tag {tag:#04x} at byte {start}")
        body = start + 2
        length = header[1]
        if length & 0x80:
            octets = self.data[body : body + (length & 0x7F)]
            length = int.from_bytes(octets, "big")
            body += len(octets)
            if not 1 <= len(octets) <= 3 or length < 0x80 or octets[0] == 0:
                raise MalformedEnvelopeError(f"the length at byte {start + 1} is not in its shortest form")
        if body + length > len(self.data):
            raise MalformedEnvelopeError(f"the element at byte {start} is longer than what is left")
        self.offset = body + length
        return self.data[start : self.offset], self.data[body : self.offset]

    def expect_end(self) -> None:
        """Raises MalformedEnvelopeError: bytes are left over."""
        if self.offset != len(self.data):
            raise MalformedEnvelopeError(f"{len(self.data) - self.offset} bytes left over")


def parse_envelope(der: bytes) -> Envelope:
    """Take a certificate apart as far as its signature needs. Raises MalformedEnvelopeError."""
    outer = DerReader(der)
    _, content = outer.read(SEQUENCE)
    outer.expect_end()
    parts = DerReader(content)
    signed_bytes, inside = parts.read(SEQUENCE)
    algorithm, _ = parts.read(SEQUENCE)
    _, signature = parts.read(BIT_STRING)
    parts.expect_end()
    if signature[:1] != b"\x00":
        raise MalformedEnvelopeError("the signature is not whole bytes")
    if not inside.startswith(VERSION_3):
        raise MalformedEnvelopeError("the certificate is not of version 3")
    fields = DerReader(inside[len(VERSION_3) :])
    _, serial = fields.read(INTEGER)
    if not 1 <= len(serial) <= MAX_SERIAL_BYTES or serial[0] & 0x80 or not any(serial):
        raise MalformedEnvelopeError("the serial number is not positive")
    if fields.read(SEQUENCE)[0] != algorithm:
        raise MalformedEnvelopeError("two algorithms are named for one signature")
    return Envelope(
        signed_bytes=signed_bytes,
        algorithm=algorithm,
        signature=signature[1:],
        serial=int.from_bytes(serial, "big"),
        issuer=fields.read(SEQUENCE)[0],
    )


def is_signed_by(envelope: Envelope, ca_key: object) -> bool:
    """Whether ``ca_key`` made the signature; False for keys and algorithms that our CAs do not use."""
    try:
        match ca_key:
            case ed25519.Ed25519PublicKey() if envelope.algorithm == ED25519:
                ca_key.verify(envelope.signature, envelope.signed_bytes)
            case ec.EllipticCurvePublicKey() if envelope.algorithm == ECDSA_WITH_SHA256:
                ca_key.verify(envelope.signature, envelope.signed_bytes, ec.ECDSA(hashes.SHA256()))
            case _:
                return False
    except InvalidSignature:
        return False
    return True
