# SPDX-License-Identifier: Apache-2.0
"""SSH certificates: the public names of this package's SSH modules in one place."""

from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.ssh_issue import (
    FLAG_EXTENSIONS,
    NO_LOGIN_PRINCIPAL,
    HostCertificateSpec,
    UserCertificateSpec,
    issue_host_certificate,
    issue_user_certificate,
)
from mezite.core.certificates.ssh_public_key import (
    authorized_key_line,
    parse_authorized_key_line,
    parse_public_key_blob,
    public_key_blob,
    ssh_fingerprint,
)
from mezite.core.certificates.ssh_verify import verify_host_certificate, verify_user_certificate
from mezite.core.certificates.verified import VerifiedHostCertificate, VerifiedUserCertificate

__all__ = [
    "FLAG_EXTENSIONS",
    "NO_LOGIN_PRINCIPAL",
    "CertificateRefused",
    "HostCertificateSpec",
    "Reason",
    "UserCertificateSpec",
    "VerifiedHostCertificate",
    "VerifiedUserCertificate",
    "authorized_key_line",
    "issue_host_certificate",
    "issue_user_certificate",
    "parse_authorized_key_line",
    "parse_public_key_blob",
    "public_key_blob",
    "ssh_fingerprint",
    "verify_host_certificate",
    "verify_user_certificate",
]
