# SPDX-License-Identifier: Apache-2.0
"""OpenSSH certificates put together field by field, right or wrong, without the code under test."""

import functools
from collections.abc import Callable

import attrs
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

SUFFIX = b"-cert-v01@openssh.com"
FOREVER = 2**64 - 1


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def number(value: int, size: int) -> bytes:
    return value.to_bytes(size, "big")


def mpint(value: int) -> bytes:
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def key_fields(key) -> tuple[bytes, bytes]:
    """Type name and the fields after it, of a public key."""
    if isinstance(key, ed25519.Ed25519PublicKey):
        return b"ssh-ed25519", string(key.public_bytes_raw())
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        return b"ssh-rsa", mpint(numbers.e) + mpint(numbers.n)
    curve = f"nistp{key.curve.key_size}".encode()
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return b"ecdsa-sha2-" + curve, string(curve) + string(point)


def key_blob(key) -> bytes:
    name, fields = key_fields(key.public_key())
    return string(name) + fields


HASHES = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}
RSA_HASHES = {b"ssh-rsa": hashes.SHA1(), b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}


def signature(key, message: bytes, algorithm: bytes = b"rsa-sha2-512") -> bytes:
    name, _ = key_fields(key.public_key())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return string(name) + string(key.sign(message))
    if isinstance(key, rsa.RSAPrivateKey):
        return string(algorithm) + string(key.sign(message, padding.PKCS1v15(), RSA_HASHES[algorithm]))
    r, s = decode_dss_signature(key.sign(message, ec.ECDSA(HASHES[key.curve.key_size])))
    return string(name) + string(mpint(r) + mpint(s))


@attrs.frozen
class Material:
    """Keys, the login to ask for, and the time (seconds since 1970)."""

    login: str
    now: int

    @functools.cache  # noqa: B019 - a few keys for the whole run
    def key(self, name: str):
        match name.partition("-")[2]:
            case "ed25519":
                return ed25519.Ed25519PrivateKey.generate()
            case "rsa1024":
                return rsa.generate_private_key(65537, 1024)
            case "rsa2048":
                return rsa.generate_private_key(65537, 2048)
            case "p256":
                return ec.generate_private_key(ec.SECP256R1())
            case "p384":
                return ec.generate_private_key(ec.SECP384R1())
            case "p521":
                return ec.generate_private_key(ec.SECP521R1())
            case other:
                raise ValueError(other)

    def trusted(self) -> frozenset[bytes]:
        """The CAs that the verifier, and sshd, are told to trust."""
        kinds = ("ed25519", "p256", "p384", "p521", "rsa2048", "rsa1024")
        return frozenset(key_blob(self.key(f"ca-{kind}")) for kind in kinds)

    def build(self, *, user="user-ed25519", ca="ca-ed25519", algorithm=b"rsa-sha2-512", **fields) -> bytes:
        """A certificate in which ``fields``, encoded as they stand on the wire, are replaced."""
        name, key = key_fields(self.key(user).public_key())
        parts = {
            "type": string(name + SUFFIX),
            "nonce": string(bytes(range(32))),
            "key": key,
            "serial": number(1, 8),
            "kind": number(1, 4),
            "key_id": string(b"alice"),
            "principals": string(string(self.login.encode())),
            "after": number(self.now - 300, 8),
            "before": number(self.now + 3600, 8),
            "critical": string(b""),
            "extensions": string(string(b"permit-pty") + string(b"")),
            "reserved": string(b""),
            "ca_key": string(key_blob(self.key(ca))),
        }
        trailer = fields.pop("trailer", b"")
        sign = fields.pop("sign", None)
        parts.update(fields)
        message = b"".join(parts.values())
        made = sign(message) if sign else signature(self.key(ca), message, algorithm)
        return message + string(made) + trailer


Build = Callable[[Material], bytes]


def option(name: bytes, value: bytes | None = None) -> bytes:
    return string(name) + string(b"" if value is None else string(value))


def sign_by(name: str, cut: int = 0, more: bytes = b"", called: bytes = b"ssh-ed25519"):
    """An Ed25519 signature of the key ``name``, with bytes cut off or added, or called by another name."""

    def sign(material: Material, message: bytes) -> bytes:
        made = material.key(name).sign(message)
        return string(called) + string(made[: len(made) - cut] + more)

    return sign


def with_fields(**fields) -> Build:
    return lambda material: material.build(**fields)


def with_now(field: str, offset: int) -> Build:
    return lambda material: material.build(**{field: number(material.now + offset, 8)})


def principals(*names: bytes) -> Build:
    """``LOGIN`` in a name stands for the login."""
    return lambda material: material.build(
        principals=string(b"".join(string(name.replace(b"LOGIN", material.login.encode())) for name in names))
    )


def critical(*options: bytes) -> Build:
    return with_fields(critical=string(b"".join(options)))


def extensions(*options: bytes) -> Build:
    return with_fields(extensions=string(b"".join(options)))


def source(value: bytes) -> Build:
    return critical(option(b"source-address", value))


def signed_with(change: Callable[[Material, bytes], bytes], **fields) -> Build:
    """``change`` makes the signature field of the message."""
    return lambda material: material.build(sign=lambda message: change(material, message), **fields)


def truncated(by: int) -> Build:
    return lambda material: material.build()[:-by]


def flipped(position: int) -> Build:
    def build(material: Material) -> bytes:
        blob = bytearray(material.build())
        blob[position] ^= 1
        return bytes(blob)

    return build


def certified_ca(material: Material) -> bytes:
    """The signer is a certificate that the trusted CA made (CVE-2025-49825)."""
    inner = material.build(user="other-ed25519")
    return material.build(
        ca_key=string(inner), sign=lambda message: signature(material.key("other-ed25519"), message)
    )


def self_signed(material: Material) -> bytes:
    return material.build(
        ca_key=string(key_blob(material.key("user-ed25519"))),
        sign=lambda message: signature(material.key("user-ed25519"), message),
    )


def compressed_point(material: Material) -> bytes:
    point = (
        material.key("user-p256")
        .public_key()
        .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)
    )
    return material.build(user="user-p256", key=string(b"nistp256") + string(point))


def padded_rsa(material: Material) -> bytes:
    numbers = material.key("user-rsa2048").public_key().public_numbers()
    modulus = number(numbers.n, 258)
    return material.build(user="user-rsa2048", key=mpint(numbers.e) + string(modulus))
