# SPDX-License-Identifier: Apache-2.0
"""mezite's own X.509 extensions: what an identity says beyond its name.

They live below ``2.25.UUID`` (ITU-T X.667: an arc that needs no registration) and are never critical, so
that other software can use the certificates. Each value is a DER UTF8String.

========  ===================================================================
arc       value
========  ===================================================================
ARC.1     generation of an agent's identity, decimal, from 1
ARC.2     node name of an agent
ARC.3     roles of a user, ``access,auditor``
ARC.4     traits of a user, canonical JSON
ARC.5     access requests that a user's certificate was issued for, ids joined by commas; only if there are any
ARC.6     enrolled device of a user, its id; only if there is one
ARC.7     addresses that a user's certificate is good for, as ``source-address`` of SSH; only if it is pinned
========  ===================================================================
"""

import re

from cryptography import x509

from mezite.core.certificates.identity import IdentityError

__all__ = [
    "ARC",
    "DEVICE",
    "GENERATION",
    "NODE_NAME",
    "REQUESTS",
    "ROLES",
    "SOURCE_ADDRESS",
    "TRAITS",
    "decode_utf8",
    "encode_utf8",
    "parse_generation",
]

ARC = "2.25.147696107626582354968698979365106610391"
"""The UUID 6f1d3c52-8f0e-4b7a-9d43-2c6a5be1f0d7 as a number."""

GENERATION = x509.ObjectIdentifier(f"{ARC}.1")
NODE_NAME = x509.ObjectIdentifier(f"{ARC}.2")
ROLES = x509.ObjectIdentifier(f"{ARC}.3")
TRAITS = x509.ObjectIdentifier(f"{ARC}.4")
REQUESTS = x509.ObjectIdentifier(f"{ARC}.5")
DEVICE = x509.ObjectIdentifier(f"{ARC}.6")
SOURCE_ADDRESS = x509.ObjectIdentifier(f"{ARC}.7")

UTF8_STRING = 0x0C
MAX_GENERATION_DIGITS = 10
"""An identity renewed every eight hours needs four million years for ten digits."""

DECIMAL = re.compile(rf"[1-9][0-9]{{0,{MAX_GENERATION_DIGITS - 1}}}", re.ASCII)


def encode_utf8(text: str) -> bytes:
    """DER UTF8String (X.690 section 8.23) in the shortest length form."""
    data = text.encode("utf-8")
    if len(data) < 0x80:
        return bytes((UTF8_STRING, len(data))) + data
    length = len(data).to_bytes((len(data).bit_length() + 7) // 8, "big")
    return bytes((UTF8_STRING, 0x80 | len(length))) + length + data


def decode_utf8(der: bytes) -> str:
    """The inverse of encode_utf8; other encodings of the same text are refused.

    Raises IdentityError.
    """
    header = 2 + (der[1] & 0x7F if len(der) > 1 and der[1] & 0x80 else 0)
    try:
        text = der[header:].decode("utf-8")
    except UnicodeDecodeError:
        raise IdentityError("an identity extension is not UTF-8") from None
    if encode_utf8(text) != der:
        raise IdentityError("an identity extension is not a DER UTF8String")
    return text


def parse_generation(text: str) -> int:
    """A generation from 1. Raises IdentityError: not decimal, leading zero, more than ten digits."""
    if DECIMAL.fullmatch(text) is None:
        raise IdentityError("the generation is not a decimal number from 1")
    return int(text)
