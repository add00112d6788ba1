# SPDX-License-Identifier: Apache-2.0
"""Claim: any bytes are either refused as a certificate or verify, and what verifies without our CA's key
having signed those very bytes does not exist. What parses is spelled in the one canonical way.

Allowed exceptions: CertificateRefused from the verifiers; MalformedWireError and InvalidKeyError from the
parsers.
"""

import contextlib

from mezite.core.certificates.keys import InvalidKeyError, load_private_key
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh import (
    HostCertificateSpec,
    UserCertificateSpec,
    issue_host_certificate,
    issue_user_certificate,
    parse_public_key_blob,
    public_key_blob,
    verify_host_certificate,
    verify_user_certificate,
)
from mezite.core.certificates.ssh_certificate import encode_unsigned, parse_ssh_certificate
from mezite.core.certificates.ssh_wire import MalformedWireError, encode_string

NOW = 1_800_000_000
CA = load_private_key(
    b"-----BEGIN PRIVATE KEY-----\n"
    b"MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n"
    b"-----END PRIVATE KEY-----\n"
)
"""Known to everyone and good for nothing, so that the corpus stays valid."""

TRUSTED = frozenset({public_key_blob(CA.public_key())})
USER = issue_user_certificate(
    CA,
    CA.public_key(),
    UserCertificateSpec(
        serial=1,
        key_id="alice",
        principals=("ubuntu", "root"),
        valid_after=NOW - 300,
        valid_before=NOW + 3600,
        nonce=bytes(32),
        extensions=("permit-pty",),
        critical_options={"source-address": "10.0.0.0/8", "force-command": "id"},
        roles=("access",),
        traits={"logins": ("ubuntu", "root")},
    ),
)
HOST = issue_host_certificate(
    CA,
    CA.public_key(),
    HostCertificateSpec(
        serial=2,
        key_id="agent-1",
        principals=("web-1",),
        valid_after=NOW - 300,
        valid_before=NOW + 3600,
        nonce=bytes(32),
    ),
)


def check(data: bytes) -> None:
    """What to do, two bytes of position, and bytes to put over or into a good certificate; or all by themselves."""
    mode, position, patch = data[:1], int.from_bytes(data[1:3], "big"), data[3:]
    original = HOST if mode > b"\x7f" else USER
    match int.from_bytes(mode, "big") % 4:
        case 0:
            verify_both(original[:position] + patch + original[position + len(patch) :])
        case 1:
            verify_both(original[:position] + patch + original[position:])
        case 2:
            verify_both(patch)
        case _:
            with contextlib.suppress(MalformedWireError, InvalidKeyError):
                assert public_key_blob(parse_public_key_blob(patch)) == patch


def verify_both(blob: bytes) -> None:
    try:
        certificate = parse_ssh_certificate(blob)
        assert encode_unsigned(certificate) + encode_string(certificate.signature) == blob
    except (MalformedWireError, InvalidKeyError):
        pass
    try:
        user = verify_user_certificate(
            blob,
            trusted_cas=TRUSTED,
            login="root",
            source_address="10.1.2.3",
            now=NOW,
            honours_force_command=True,
        )
        assert blob == USER
        assert user.force_command == "id"
    except CertificateRefused as error:
        check_message(error.message)
    try:
        verify_host_certificate(blob, trusted_cas=TRUSTED, host_name="web-1", now=NOW)
        assert blob == HOST
    except CertificateRefused as error:
        check_message(error.message)


def check_message(message: str) -> None:
    assert message.isprintable()
