# SPDX-License-Identifier: Apache-2.0
"""The layout of an OpenSSH certificate (OpenSSH's PROTOCOL.certkeys, version 01): values <-> bytes, no
judgement.

After the type name come: nonce, the fields of the key, serial, kind, key id, principals, valid after, valid
before, critical options, extensions, reserved, signature key, signature. The signature covers everything
before it. Where OpenSSH writes in one way and reads in many (order of options, doubled options, the reserved
field), only what it writes is read.
"""

import enum
from collections.abc import Mapping

import attrs

from mezite.core.certificates.keys import PublicKey
from mezite.core.certificates.ssh_public_key import public_key_blob, read_public_key_fields
from mezite.core.certificates.ssh_wire import (
    MalformedWireError,
    WireReader,
    encode_string,
    encode_uint32,
    encode_uint64,
)

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "CertificateKind",
    "SshCertificate",
    "encode_unsigned",
    "parse_ssh_certificate",
]

SUFFIX = "-cert-v01@openssh.com"

MAX_CERTIFICATE_BYTES = 16 * 1024
"""An authentication request carries the certificate and must fit RFC 4253's 35,000-byte packet; ours have 1
to 4 kB,
and the largest an RSA-8192 CA makes with 256 principals has about 12 kB."""

MAX_PRINCIPALS = 256
"""OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS."""

MIN_NONCE_BYTES = 16
MAX_NONCE_BYTES = 64
"""OpenSSH writes 32; older versions 16 or 20. The nonce makes signed bytes unpredictable to who asks for
them."""


class CertificateKind(enum.IntEnum):
    """SSH2_CERT_TYPE_*."""

    USER = 1
    HOST = 2


@attrs.frozen(kw_only=True)
class SshCertificate:
    """The fields of a certificate, unverified."""

    nonce: bytes
    public_key: PublicKey
    serial: int
    kind: int
    """A CertificateKind, or a number that is none."""
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    """Seconds since 1970."""
    critical_options: Mapping[str, bytes]
    extensions: Mapping[str, bytes]
    ca_key_blob: bytes
    signature: bytes = b""
    signed_bytes: bytes = b""
    """What the signature covers, as received."""


def encode_options(options: Mapping[str, bytes]) -> bytes:
    pairs = sorted((name.encode("utf-8"), data) for name, data in options.items())
    return encode_string(b"".join(encode_string(name) + encode_string(data) for name, data in pairs))


def encode_unsigned(certificate: SshCertificate) -> bytes:
    """Everything up to the signature key, that is, what a CA signs."""
    key_blob = public_key_blob(certificate.public_key)
    reader = WireReader(key_blob)
    key_type = reader.read_text()
    principals = b"".join(encode_string(name.encode("utf-8")) for name in certificate.principals)
    return b"".join(
        (
            encode_string((key_type + SUFFIX).encode("ascii")),
            encode_string(certificate.nonce),
            reader.read(reader.remaining),
            encode_uint64(certificate.serial),
            encode_uint32(certificate.kind),
            encode_string(certificate.key_id.encode("utf-8")),
            encode_string(principals),
            encode_uint64(certificate.valid_after),
            encode_uint64(certificate.valid_before),
            encode_options(certificate.critical_options),
            encode_options(certificate.extensions),
            encode_string(b""),
            encode_string(certificate.ca_key_blob),
        )
    )


def parse_ssh_certificate(blob: bytes) -> SshCertificate:
    """The fields of a certificate; nothing about it has been verified.

    Raises MalformedWireError (also for a plain key) and InvalidKeyError (certified key of an unsupported
    kind).
    """
    if len(blob) > MAX_CERTIFICATE_BYTES:
        raise MalformedWireError(
            f"{len(blob)} bytes are more than the {MAX_CERTIFICATE_BYTES} of any certificate"
        )
    reader = WireReader(blob)
    type_name = reader.read_text()
    if not type_name.endswith(SUFFIX):
        raise MalformedWireError(f"{type_name!r} is not a type of certificate")
    nonce = reader.read_string()
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
        raise MalformedWireError(f"the nonce has {len(nonce)} bytes")
    public_key = read_public_key_fields(type_name.removesuffix(SUFFIX), reader)
    certificate = SshCertificate(
        nonce=nonce,
        public_key=public_key,
        serial=reader.read_uint64(),
        kind=reader.read_uint32(),
        key_id=reader.read_text(),
        principals=read_principals(reader.read_string()),
        valid_after=reader.read_uint64(),
        valid_before=reader.read_uint64(),
        critical_options=read_options(reader.read_string()),
        extensions=read_options(reader.read_string()),
        ca_key_blob=read_ca_key(reader),
        signed_bytes=blob[: reader.offset],
        signature=reader.read_string(),
    )
    reader.expect_end()
    return certificate


def read_ca_key(reader: WireReader) -> bytes:
    if reader.read_string():
        raise MalformedWireError("the reserved field is not empty")
    return reader.read_string()


def read_principals(data: bytes) -> tuple[str, ...]:
    reader = WireReader(data)
    names: list[str] = []
    while reader.remaining:
        if len(names) == MAX_PRINCIPALS:
            raise MalformedWireError(f"more than {MAX_PRINCIPALS} principals")
        name = reader.read_text()
        if not name:
            raise MalformedWireError("a principal is empty")
        names.append(name)
    if len(set(names)) != len(names):
        raise MalformedWireError("a principal is listed twice")
    return tuple(names)


def read_options(data: bytes) -> dict[str, bytes]:
    reader = WireReader(data)
    options: dict[str, bytes] = {}
    last = b""
    while reader.remaining:
        name = reader.read_text()
        if name.encode("utf-8") <= last:
            raise MalformedWireError("option names are empty, doubled or not in order")
        last = name.encode("utf-8")
        options[name] = reader.read_string()
    return options
