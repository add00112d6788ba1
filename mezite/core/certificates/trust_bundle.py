# SPDX-License-Identifier: Apache-2.0
"""Whom an agent trusts: the CAs of hubs and of users' SSH, as one value that can be compared and acknowledged.

A key is known by the SHA-256 of its SubjectPublicKeyInfo, whatever it is wrapped in.
"""

import hashlib
from collections.abc import Collection, Iterable

import attrs
from cryptography import x509

from mezite.core.certificates.keys import InvalidKeyError, spki_sha256
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh_public_key import parse_authorized_key_line, parse_public_key_blob
from mezite.core.certificates.ssh_wire import MalformedWireError
from mezite.core.certificates.x509_issue import certificate_spki_sha256, load_certificates
from mezite.core.certificates.x509_verify import check_ca

__all__ = [
    "BadTrustError",
    "TrustBundle",
    "ca_certificate",
    "digest_of_keys",
    "key_id_of_certificate",
    "key_id_of_line",
]

MOST_CAS = 16
"""One that signs, one that is next, and a few that are still trusted: see MOST_RETIRED in core/rotation."""


class BadTrustError(ValueError):
    """What was offered to be trusted is no set of CAs; the text says why."""


def ca_certificate(pem: str, now: int) -> x509.Certificate:
    """The one CA certificate in ``pem``, good at ``now`` (seconds since 1970).

    Raises BadTrustError: damaged, several, not a CA's, or not in its window.
    """
    try:
        (certificate,) = load_certificates(pem.encode())
        check_ca(certificate, now)
    except CertificateRefused as refused:
        raise BadTrustError(refused.message) from None
    except ValueError:
        raise BadTrustError("this is not one CA certificate in PEM") from None
    return certificate


def key_id_of_certificate(pem: str) -> str:
    """The id of the key in one certificate. Raises BadTrustError."""
    try:
        (certificate,) = load_certificates(pem.encode())
        return certificate_spki_sha256(certificate)
    except ValueError:
        raise BadTrustError("this is not one certificate in PEM") from None


def key_id_of_line(line: str) -> str:
    """The id of the key in an OpenSSH public key line. Raises BadTrustError."""
    try:
        return spki_sha256(parse_public_key_blob(parse_authorized_key_line(line)[1]))
    except (MalformedWireError, InvalidKeyError):
        raise BadTrustError("this is not an OpenSSH public key") from None


def digest_of_keys(key_ids: Iterable[str]) -> str:
    """64 hexadecimal digits that are equal for equal sets of keys, in whatever order."""
    return hashlib.sha256("\n".join(sorted(set(key_ids))).encode("ascii")).hexdigest()


@attrs.frozen(kw_only=True)
class TrustBundle:
    """What an agent holds."""

    host_tls_ca_pem: tuple[str, ...]
    user_ssh_ca: tuple[str, ...]

    @classmethod
    def offered(
        cls, host_tls_ca_pem: Collection[str], user_ssh_ca: Collection[str], *, now: int
    ) -> "TrustBundle":
        """A bundle that is fit to replace the one in use. ``now`` is in seconds since 1970.

        Raises BadTrustError: a part is empty (threat F2: never "nobody", never "anybody"), too long, or no CA.
        """
        for name, part in (("hubs", host_tls_ca_pem), ("users", user_ssh_ca)):
            if not 1 <= len(part) <= MOST_CAS:
                raise BadTrustError(f"{len(part)} CAs of {name} are not between 1 and {MOST_CAS}")
        for pem in host_tls_ca_pem:
            ca_certificate(pem, now)
        for line in user_ssh_ca:
            key_id_of_line(line)
        return cls(host_tls_ca_pem=tuple(host_tls_ca_pem), user_ssh_ca=tuple(user_ssh_ca))

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys. Raises BadTrustError: the bundle was not checked and is damaged."""
        hosts = (key_id_of_certificate(pem) for pem in self.host_tls_ca_pem)
        return frozenset((*hosts, *(key_id_of_line(line) for line in self.user_ssh_ca)))

    @property
    def digest(self) -> str:
        """See `digest_of_keys`. Raises BadTrustError as `key_ids`."""
        return digest_of_keys(self.key_ids)
