# SPDX-License-Identifier: Apache-2.0
"""What a user's program gets to use a hub with, whatever proved the user."""

from __future__ import annotations

from typing import Any

from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.login.certificates import IssuedToUser

__all__ = ["certificates_answer"]


def certificates_answer(issued: IssuedToUser, authorities: CertificateAuthorities) -> dict[str, Any]:
    """Return certificates, and whom to believe at the other end."""
    return {
        "ssh_certificate": issued.certificates.ssh_certificate,
        "tls_certificate_pem": issued.certificates.tls_certificate_pem,
        "ssh_host_ca": authorities.host_ssh_ca_lines,
        "host_tls_ca_pem": authorities.host_tls_ca_pem,
        "cluster_name": authorities.cluster,
        "user": issued.user_name,
        "roles": list(issued.roles),
        "logins": list(issued.logins),
        "expires_at_ms": issued.certificates.expires_at,
        "request_ids": list(issued.request_ids),
        "device_id": issued.device_id,
    }
