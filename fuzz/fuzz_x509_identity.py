# SPDX-License-Identifier: Apache-2.0
"""Claim: any bytes are either refused as an identity or are the very certificate that the CA signed;
identity URIs, roles, traits and DER strings that decode are spelled in the one canonical way.

Allowed exceptions: CertificateRefused from the verifier, IdentityError from the decoders.
"""

import contextlib

from cryptography.hazmat.primitives.serialization import Encoding

from mezite.core.certificates.identity import (
    IdentityError,
    decode_roles,
    decode_traits,
    encode_roles,
    encode_traits,
    identity_uri,
    parse_identity_uri,
)
from mezite.core.certificates.keys import load_private_key
from mezite.core.certificates.x509 import (
    AgentCertificateSpec,
    CaPurpose,
    CertificateRefused,
    PeerKind,
    UserX509Spec,
    Validity,
    issue_agent_certificate,
    issue_ca_certificate,
    issue_user_certificate_x509,
    verify_x509,
)
from mezite.core.certificates.x509_extensions import decode_utf8, encode_utf8

NOW = 1_800_000_000
KEY = load_private_key(
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
    b"-----END PRIVATE KEY-----\n"
)
"""Known to everyone and good for nothing, so that the corpus stays valid."""

WINDOW = Validity(NOW - 300, NOW + 3600)
CA = issue_ca_certificate(KEY, cluster="test", purpose=CaPurpose.HOST_TLS, serial=1, validity=WINDOW)
AGENT = issue_agent_certificate(
    CA,
    KEY,
    KEY.public_key(),
    AgentCertificateSpec(
        cluster="test", agent_id="agent-1", node_name="web-1", generation=3, serial=2, validity=WINDOW
    ),
).public_bytes(Encoding.DER)
USER = issue_user_certificate_x509(
    CA,
    KEY,
    KEY.public_key(),
    UserX509Spec(
        cluster="test",
        user_name="alice",
        roles=("access",),
        traits={"logins": ("ubuntu",)},
        serial=3,
        validity=WINDOW,
    ),
).public_bytes(Encoding.DER)


def check(data: bytes) -> None:
    """What to do, two bytes of position, and bytes to put over or into a good certificate; or all by themselves."""
    mode, position, patch = data[:1], int.from_bytes(data[1:3], "big"), data[3:]
    original, kind = (USER, PeerKind.USER) if mode > b"\x7f" else (AGENT, PeerKind.AGENT)
    match int.from_bytes(mode, "big") % 4:
        case 0:
            check_certificate(original[:position] + patch + original[position + len(patch) :], original, kind)
        case 1:
            check_certificate(original[:position] + patch + original[position:], original, kind)
        case 2:
            check_certificate(patch, original, kind)
        case _:
            check_texts(patch)


def check_certificate(der: bytes, original: bytes, kind: PeerKind) -> None:
    try:
        verify_x509(der, ca_certs=[CA], cluster="test", kind=kind, now=NOW)
        assert der == original
    except CertificateRefused as error:
        check_message(error.message)


def check_texts(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    with contextlib.suppress(IdentityError):
        assert identity_uri(*parse_identity_uri(text)) == text
    with contextlib.suppress(IdentityError):
        assert encode_roles(decode_roles(text)) == text
    with contextlib.suppress(IdentityError):
        assert encode_traits(decode_traits(text)) == text
    with contextlib.suppress(IdentityError):
        assert encode_utf8(decode_utf8(data)) == data


def check_message(message: str) -> None:
    assert message.isprintable()
