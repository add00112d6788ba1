# SPDX-License-Identifier: Apache-2.0
"""X.509 certificates: the public names of this package's X.509 modules in one place."""

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.validity import BACKDATE_SECONDS, Validity
from mezite.core.certificates.verified import VerifiedPeer
from mezite.core.certificates.x509_issue import (
    AgentCertificateSpec,
    CaPurpose,
    HubCertificateSpec,
    UserX509Spec,
    certificate_pem,
    certificate_spki_sha256,
    issue_agent_certificate,
    issue_ca_certificate,
    issue_hub_certificate,
    issue_user_certificate_x509,
    load_certificates,
    public_key_from_csr,
)
from mezite.core.certificates.x509_verify import pinned_ca, verify_x509

__all__ = [
    "BACKDATE_SECONDS",
    "AgentCertificateSpec",
    "CaPurpose",
    "CertificateRefused",
    "HubCertificateSpec",
    "PeerKind",
    "Reason",
    "UserX509Spec",
    "Validity",
    "VerifiedPeer",
    "certificate_pem",
    "certificate_spki_sha256",
    "issue_agent_certificate",
    "issue_ca_certificate",
    "issue_hub_certificate",
    "issue_user_certificate_x509",
    "load_certificates",
    "pinned_ca",
    "public_key_from_csr",
    "verify_x509",
]
