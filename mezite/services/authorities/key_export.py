# SPDX-License-Identifier: Apache-2.0
"""The public halves of signing keys, in the form in which those who check them want them."""

from __future__ import annotations

import json
from typing import Any

from mezite.core.certificates.jwk import public_jwk
from mezite.core.certificates.keys import public_key_pem
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.keys import Purpose

__all__ = ["app_jwks", "export_keys"]


def app_jwks(authorities: CertificateAuthorities) -> dict[str, Any]:
    """Return the JSON Web Key Set of assertions: the key that signs, the next one, and those of what is still valid."""
    return {"keys": [public_jwk(key) for key in authorities.ring.public_keys(Purpose.APP_JWT)]}


def export_keys(authorities: CertificateAuthorities, purpose: Purpose) -> str:
    """Return all keys of a purpose that are trusted, as text that ends in a newline."""
    match purpose:
        case Purpose.USER_SSH:
            # As `TrustedUserCAKeys` of sshd reads it.
            return "".join(f"{line}\n" for line in authorities.user_ssh_ca_lines)
        case Purpose.HOST_SSH:
            return "".join(f"@cert-authority * {line}\n" for line in authorities.host_ssh_ca_lines)
        case Purpose.HOST_TLS:
            return "".join(authorities.host_tls_ca_pem)
        case Purpose.USER_TLS:
            return "".join(authorities.user_tls_ca_pem)
        case Purpose.APP_JWT:
            return json.dumps(app_jwks(authorities), indent=2) + "\n"
        case Purpose.RECORDINGS | Purpose.AUDIT:
            return "".join(public_key_pem(key).decode() for key in authorities.ring.public_keys(purpose))
