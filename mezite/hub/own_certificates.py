# SPDX-License-Identifier: Apache-2.0
"""Whether a certificate that somebody shows is a hub's of this cluster."""

from __future__ import annotations

from collections.abc import Callable

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.sources import Sources

__all__ = ["own_certificate_check"]


def own_certificate_check(authorities: CertificateAuthorities, sources: Sources) -> Callable[[bytes], bool]:
    """Return a function that takes a certificate as DER."""
    roots = load_certificates("".join(authorities.host_tls_ca_pem).encode())

    def is_own(certificate: bytes) -> bool:
        try:
            verify_x509(
                certificate,
                ca_certs=roots,
                cluster=authorities.cluster,
                kind=PeerKind.HUB,
                now=sources.now() // 1000,
            )
        except CertificateRefused:
            return False
        return True

    return is_own
