# SPDX-License-Identifier: Apache-2.0
"""SSH public keys as bytes on the wire (RFC 4253 section 6.6, RFC 5656 section 3.1, RFC 8709 section 4) and
as lines.

A blob is accepted in its one canonical spelling only, so that comparing bytes compares keys.
"""

import base64
import binascii
import hashlib
import re

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from mezite.core.certificates.keys import (
    InvalidKeyError,
    PrivateKey,
    PublicKey,
    check_public_key,
    check_rsa_numbers,
)
from mezite.core.certificates.ssh_wire import MalformedWireError, WireReader, encode_mpint, encode_string

__all__ = [
    "authorized_key_line",
    "parse_authorized_key_line",
    "parse_public_key_blob",
    "public_key_blob",
    "ssh_fingerprint",
]

ED25519 = "ssh-ed25519"
RSA = "ssh-rsa"

CURVES: dict[str, tuple[ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "nistp256": (ec.SECP256R1(), hashes.SHA256()),
    "nistp384": (ec.SECP384R1(), hashes.SHA384()),
    "nistp521": (ec.SECP521R1(), hashes.SHA512()),
}
"""Curve name and the hash that RFC 5656 section 6.2.1 binds to its size."""

RSA_SIGNATURES: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha2-256": hashes.SHA256(),
    "rsa-sha2-512": hashes.SHA512(),
}
"""RFC 8332; ``ssh-rsa`` (SHA-1) is absent on purpose."""

KEY_LINE = re.compile(r"[ \t]*([!-~]+)[ \t]+([!-~]+)(?:[ \t][^\r\n]*)?(?:\r?\n)?", re.ASCII)
"""No two neighbours match the same character, so the match takes linear time (threat P10)."""

MAX_LINE = 24 * 1024
"""A certificate of the largest accepted size in base64 has 22 kB."""


def public_key_blob(key: PublicKey) -> bytes:
    """The wire form of a key, also what trusted CAs are compared by. Raises InvalidKeyError: kind not
    supported.
    """
    checked = check_public_key(key)
    if isinstance(checked, ed25519.Ed25519PublicKey):
        return encode_string(ED25519.encode()) + encode_string(checked.public_bytes_raw())
    if isinstance(checked, rsa.RSAPublicKey):
        numbers = checked.public_numbers()
        return encode_string(RSA.encode()) + encode_mpint(numbers.e) + encode_mpint(numbers.n)
    name = next(name for name, (curve, _) in CURVES.items() if curve.name == checked.curve.name)
    point = checked.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    key_type = f"ecdsa-sha2-{name}".encode()
    return encode_string(key_type) + encode_string(name.encode()) + encode_string(point)


def read_public_key_fields(key_type: str, reader: WireReader) -> PublicKey:
    """Read what follows the type name in a key blob, and follows the nonce in a certificate.

    Raises MalformedWireError, InvalidKeyError (unknown type, size out of bounds, point not on the curve).
    Security keys (``sk-…``) are refused until their presence flag is checked (threat A10).
    """
    if key_type == ED25519:
        raw = reader.read_string()
        if len(raw) != 32:
            raise MalformedWireError(f"an Ed25519 key has 32 bytes, not {len(raw)}")
        return ed25519.Ed25519PublicKey.from_public_bytes(raw)
    if key_type == RSA:
        exponent, modulus = reader.read_mpint(), reader.read_mpint()
        check_rsa_numbers(modulus, exponent)
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    name = key_type.removeprefix("ecdsa-sha2-")
    if name not in CURVES or name == key_type:
        raise InvalidKeyError(f"keys of type {key_type!r} are not supported")
    if reader.read_string() != name.encode():
        raise MalformedWireError("the curve is not the one of the key type")
    point = reader.read_string()
    if not point.startswith(b"\x04"):
        raise MalformedWireError("the point is not in uncompressed form")
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(CURVES[name][0], point)
    except ValueError:
        raise InvalidKeyError("the point is not on its curve") from None


def parse_public_key_blob(blob: bytes) -> PublicKey:
    """A plain key from its wire form. Raises MalformedWireError, InvalidKeyError (also for certificates)."""
    reader = WireReader(blob)
    key = read_public_key_fields(reader.read_text(), reader)
    reader.expect_end()
    return key


def sign(key: PrivateKey, message: bytes) -> bytes:
    """An SSH signature blob over ``message``: algorithm name and signature (RFC 4253 section 6.6)."""
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return encode_string(ED25519.encode()) + encode_string(key.sign(message))
    name = WireReader(public_key_blob(key.public_key())).read_string()
    hash_algorithm = CURVES[name.decode().removeprefix("ecdsa-sha2-")][1]
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(hash_algorithm)))
    return encode_string(name) + encode_string(encode_mpint(r) + encode_mpint(s))


def signature_is_valid(key: PublicKey, signature_blob: bytes, message: bytes) -> bool:
    """Whether ``signature_blob`` is a signature of ``key`` over ``message`` by a strong algorithm of that
    key.

    False for SHA-1, for the algorithm of another kind of key and for a wrong signature.

    Raises MalformedWireError: the blob is not a signature.
    """
    reader = WireReader(signature_blob)
    algorithm = reader.read_text()
    signature = reader.read_string()
    reader.expect_end()
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            if algorithm != ED25519:
                return False
            key.verify(signature, message)
        elif isinstance(key, rsa.RSAPublicKey):
            if algorithm not in RSA_SIGNATURES or len(signature) != (key.key_size + 7) // 8:
                return False
            key.verify(signature, message, padding.PKCS1v15(), RSA_SIGNATURES[algorithm])
        else:
            name = algorithm.removeprefix("ecdsa-sha2-")
            if name == algorithm or name not in CURVES or CURVES[name][0].name != key.curve.name:
                return False
            key.verify(der_signature(signature), message, ec.ECDSA(CURVES[name][1]))
    except InvalidSignature:
        return False
    return True


def der_signature(signature: bytes) -> bytes:
    reader = WireReader(signature)
    r, s = reader.read_mpint(), reader.read_mpint()
    reader.expect_end()
    return encode_dss_signature(r, s)


def parse_authorized_key_line(line: str) -> tuple[str, bytes]:
    """Type and wire form of ``TYPE BASE64 [COMMENT]``, one line as in ``id_ed25519.pub`` or ``-cert.pub``.

    The wire form is not looked into beyond its type; pass it to parse_public_key_blob or a verifier.

    Raises InvalidKeyError: too long, no such line, bad base64, or the two types differ.
    """
    if len(line) > MAX_LINE:
        raise InvalidKeyError(f"a key line of {len(line)} characters is too long")
    match = KEY_LINE.fullmatch(line)
    if match is None:
        raise InvalidKeyError("the key is not one line of the form: TYPE BASE64 COMMENT")
    announced, encoded = match.groups()
    try:
        blob = base64.b64decode(encoded, validate=True)
        key_type = WireReader(blob).read_text()
    except (binascii.Error, ValueError):
        raise InvalidKeyError("the key line is damaged: its second word is not a key in base64") from None
    if key_type != announced:
        raise InvalidKeyError(f"the key line says {announced!r} but holds a key of type {key_type!r}")
    return key_type, blob


def authorized_key_line(blob: bytes, comment: str = "") -> str:
    """``TYPE BASE64 COMMENT`` of a key or certificate, without a newline. Raises MalformedWireError."""
    line = f"{WireReader(blob).read_text()} {base64.b64encode(blob).decode()}"
    return f"{line} {comment}" if comment else line


def ssh_fingerprint(blob: bytes) -> str:
    """``SHA256:…`` of a plain key as ``ssh-keygen -l`` prints it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).rstrip(b"=").decode()
