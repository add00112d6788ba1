# SPDX-License-Identifier: Apache-2.0
"""The keys that a cluster signs with: made, encrypted at rest, opened; and what each purpose demands."""

from __future__ import annotations

from collections.abc import Mapping
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
    spki_sha256,
)
from mezite.core.certificates.x509 import (
    CaPurpose,
    Validity,
    certificate_pem,
    issue_ca_certificate,
    load_certificates,
)
from mezite.core.rotation import KeyFacts, Policy
from mezite.services.sources import Sources
from mezite.storage.certificate_authorities import AuthorityState, CertificateAuthorityRow

__all__ = [
    "AGENT_LIFETIME_S",
    "HUB_LIFETIME_S",
    "JWKS_MAX_AGE_S",
    "POLICIES",
    "USER_CERTIFICATE_S",
    "Authority",
    "CaPassphraseError",
    "Purpose",
    "make_authority",
    "open_authority",
]

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
    APP_JWT = "app-jwt"
    RECORDINGS = "recordings"
    AUDIT = "audit"


USER_CERTIFICATE_S: Final = 24 * 3600
"""The longest life of a user's certificate, whatever the roles say."""
AGENT_LIFETIME_S: Final = 24 * 3600
HUB_LIFETIME_S: Final = 24 * 3600
ASSERTION_S: Final = 60

JWKS_MAX_AGE_S: Final = 3600
"""How long readers may keep the public keys of assertions: a look-up in an hour costs nobody anything."""

WEEK_MS: Final = 7 * 86_400_000

# Clients learn of hosts' CAs when they log in: a day after a key was published, all of them have (threat F5).
_HOSTS = Policy(signs_for_ms=HUB_LIFETIME_S * 1000, lead_ms=USER_CERTIFICATE_S * 1000, agents_trust=False)

POLICIES: Final[Mapping[Purpose, Policy]] = {
    Purpose.USER_SSH: Policy(signs_for_ms=USER_CERTIFICATE_S * 1000, agents_trust=True),
    Purpose.HOST_SSH: _HOSTS,
    Purpose.HOST_TLS: attrs.evolve(_HOSTS, agents_trust=True),
    Purpose.USER_TLS: Policy(signs_for_ms=USER_CERTIFICATE_S * 1000),
    # Twice the age that a copy may have: caches add up behind each other (threat E3).
    Purpose.APP_JWT: Policy(
        signs_for_ms=ASSERTION_S * 1000,
        lead_ms=2 * JWKS_MAX_AGE_S * 1000,
        always_ahead=True,
        rotates_every_ms=6 * WEEK_MS,
        # For backends whose clocks or queues are odd, and so that a rotation can be rolled back when somebody notices.
        kept_ms=WEEK_MS,
    ),
    # What is recorded is checked years later.
    Purpose.RECORDINGS: Policy(signs_for_ms=None),
    Purpose.AUDIT: Policy(signs_for_ms=None),
}
"""What each purpose demands of its rotation."""

_P256 = frozenset({Purpose.HOST_TLS, Purpose.USER_TLS, Purpose.APP_JWT})
"""The others are Ed25519."""

_TLS_PURPOSES = {Purpose.HOST_TLS: CaPurpose.HOST_TLS, Purpose.USER_TLS: CaPurpose.USER_TLS}


class CaPassphraseError(Exception):
    """The stored CA keys cannot be opened with the configured passphrase."""


@attrs.frozen(kw_only=True)
class Authority:
    """One key of a purpose, opened."""

    row: CertificateAuthorityRow
    key_id: str
    """SHA-256 of its SubjectPublicKeyInfo, as in pins."""
    key: PrivateKey = attrs.field(repr=False)
    ca: x509.Certificate | None
    """Of the purposes that sign X.509 certificates."""

    @property
    def certificate(self) -> x509.Certificate:
        """Its certificate. :raises AssertionError: the purpose has none."""
        if self.ca is None:
            raise AssertionError(f"the {self.row.purpose} CA has no certificate")
        return self.ca

    @property
    def facts(self) -> KeyFacts:
        """What its rotation needs to know."""
        return KeyFacts(
            key_id=self.key_id,
            state=self.row.state,
            created_at=self.row.created_at,
            requested=self.row.requested_at is not None,
            retired_at=self.row.retired_at,
        )


def make_authority(
    purpose: Purpose,
    cluster: str,
    passphrase: bytes | None,
    sources: Sources,
    *,
    state: AuthorityState = AuthorityState.ACTIVE,
) -> CertificateAuthorityRow:
    """Return a fresh key of `purpose` as it is stored: encrypted when there is a passphrase."""
    now = sources.now()
    key: PrivateKey = generate_p256() if purpose in _P256 else generate_ed25519()
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
        state=state,
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
    return Authority(row=row, key_id=spki_sha256(key.public_key()), key=key, ca=certificate)
