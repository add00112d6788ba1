# SPDX-License-Identifier: Apache-2.0
"""Certificate files as operators have them: good ones, and each kind of broken one."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from mezite.config.schema import KeypairConfig

BEGIN = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
END = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def ecdsa_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def certificate(
    key: Key, *names: str, begin: datetime.datetime = BEGIN, end: datetime.datetime = END
) -> bytes:
    """Self-signed, so that clients can trust it by itself."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "web")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    if names:
        alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        builder = builder.add_extension(alternatives, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)


def key_pem(key: Key, passphrase: bytes | None = None) -> bytes:
    encryption = NoEncryption() if passphrase is None else BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


def write_pair(folder: Path, certificate_pem: bytes, private_key_pem: bytes) -> KeypairConfig:
    """Put both into `folder`, over what is there."""
    cert_file, key_file = folder / "web.crt", folder / "web.key"
    cert_file.write_bytes(certificate_pem)
    key_file.touch(mode=0o600)
    key_file.write_bytes(private_key_pem)
    return KeypairConfig(cert_file=str(cert_file), key_file=str(key_file))
