# SPDX-License-Identifier: Apache-2.0
"""The keys of the certificate authorities: made, encrypted at rest, opened."""

from __future__ import annotations

from enum import Enum
from typing import Final

import attrs
from cryptography import x509

from mezite.core.certificates.keys import (
    InvalidKeyError,
    PrivateKey,
    generate_ed25519,
    generate_p256,
    load_private_key,
    private_key_pem,
    public_key_pem,
)
from mezite.core.certificates.x509 import (
    CaPurpose,
    Validity,
    certificate_pem,
    issue_ca_certificate,
    load_certificates,
)
from mezite.services.sources import Sources
from mezite.storage.certificate_authorities import AuthorityState, CertificateAuthorityRow

__all__ = ["Authority", "CaPassphraseError", "Purpose", "make_authority", "open_authority"]

CA_LIFETIME_S: Final = 10 * 365 * 86_400
"""Ten years: rotation is an operation of its own, never something that happens because nobody looked."""

CA_BACKDATE_S: Final = 86_400
"""A day: a machine whose clock is off must fail with a message about its clock, not about the CA (threat F6)."""


class Purpose(Enum):
    """What a CA signs; the value is what is stored and what `mezctl auth export --type` takes."""

    USER_SSH = "user-ssh"
    HOST_SSH = "host-ssh"
    HOST_TLS = "host-tls"
    USER_TLS = "user-tls"


_TLS_PURPOSES = {Purpose.HOST_TLS: CaPurpose.HOST_TLS, Purpose.USER_TLS: CaPurpose.USER_TLS}


class CaPassphraseError(Exception):
    """The stored CA keys cannot be opened with the configured passphrase."""


@attrs.frozen
class Authority:
    """One CA, opened."""

    key: PrivateKey = attrs.field(repr=False)
    certificate: x509.Certificate | None


def make_authority(
    purpose: Purpose, cluster: str, passphrase: bytes | None, sources: Sources
) -> CertificateAuthorityRow:
    """Return a fresh key of `purpose` as it is stored: encrypted when there is a passphrase."""
    now = sources.now()
    key: PrivateKey = generate_p256() if purpose in _TLS_PURPOSES else generate_ed25519()
    certificate = None
    if purpose in _TLS_PURPOSES:
        begin = now // 1000 - CA_BACKDATE_S
        certificate = certificate_pem(
            issue_ca_certificate(
                key,
                cluster=cluster,
                purpose=_TLS_PURPOSES[purpose],
                serial=sources.new_serial(),
                validity=Validity(begin, begin + CA_LIFETIME_S),
            )
        ).decode()
    return CertificateAuthorityRow(
        id=sources.new_id(),
        purpose=purpose.value,
        public=public_key_pem(key.public_key()),
        private=private_key_pem(key, passphrase),
        certificate=certificate,
        state=AuthorityState.ACTIVE,
        created_at=now,
        updated_at=now,
    )


def open_authority(row: CertificateAuthorityRow, passphrase: bytes | None) -> Authority:
    """Open a stored key. :raises CaPassphraseError: the passphrase is missing or wrong."""
    encrypted = b"ENCRYPTED" in row.private
    if encrypted and passphrase is None:
        raise CaPassphraseError(
            "the CA keys are encrypted: set ca_key_passphrase (or MEZITE_CA_KEY_PASSPHRASE)"
        )
    try:
        key = load_private_key(row.private, passphrase if encrypted else None)
    except InvalidKeyError as error:
        raise CaPassphraseError(f"the {row.purpose} CA key cannot be opened: {error}") from None
    certificate = None if row.certificate is None else load_certificates(row.certificate.encode())[0]
    return Authority(key, certificate)
