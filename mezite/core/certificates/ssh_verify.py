# SPDX-License-Identifier: Apache-2.0
"""The one verifier of SSH certificates (threat A4). What it accepts, OpenSSH accepts; not the other way
round.

Order: size and form, kind, signer, signature, window, principals, critical options. The signer is judged
before any signature arithmetic, so certificates of strangers cost a hash look-up (threat A9).
"""

from collections.abc import Collection
from types import MappingProxyType
from typing import Any

from mezite.core.certificates.identity import (
    IdentityError,
    check_device_id,
    decode_request_ids,
    decode_roles,
    decode_traits,
)
from mezite.core.certificates.keys import InvalidKeyError
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.source_address import (
    InvalidAddressError,
    parse_source_addresses,
    source_address_matches,
)
from mezite.core.certificates.ssh_certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateKind,
    SshCertificate,
    parse_ssh_certificate,
)
from mezite.core.certificates.ssh_issue import (
    CRITICAL_OPTIONS,
    DEVICE_EXTENSION,
    FLAG_EXTENSIONS,
    REQUESTS_EXTENSION,
    ROLES_EXTENSION,
    TRAITS_EXTENSION,
)
from mezite.core.certificates.ssh_public_key import parse_public_key_blob, public_key_blob, signature_is_valid
from mezite.core.certificates.ssh_wire import MalformedWireError, WireReader
from mezite.core.certificates.validity import check_window
from mezite.core.certificates.verified import (
    VerifiedHostCertificate,
    VerifiedUserCertificate,
    construct_verified,
)
from mezite.core.names import InvalidNameError, check_user_name

__all__ = ["verify_host_certificate", "verify_user_certificate"]

OWN_EXTENSIONS = (ROLES_EXTENSION, TRAITS_EXTENSION, REQUESTS_EXTENSION, DEVICE_EXTENSION)


def verify_user_certificate(
    blob: bytes,
    *,
    trusted_cas: Collection[bytes],
    login: str | None,
    source_address: str,
    now: int,
    honours_force_command: bool = False,
) -> VerifiedUserCertificate:
    """Check a user's certificate completely, except for possession of its key, which the SSH exchange proves.

    ``trusted_cas`` are the plain public keys (wire form) of the user-SSH CAs and of nothing else. ``login``
    must be among the principals; None when no login is known yet (then check it later). ``source_address``
    is the client's address without port as the hub saw it; an empty one satisfies no ``source-address``
    option. ``now`` is in seconds since 1970. A certificate with ``force-command`` is refused unless the
    caller says that it ``honours_force_command`` and runs what VerifiedUserCertificate.force_command holds.

    Locks and revocation (threat F8) are the caller's: they are asked at each use, this at each login.

    Raises CertificateRefused.
    """
    certificate = verified_fields(blob, CertificateKind.USER, trusted_cas, now)
    if login is not None and login not in certificate.principals:
        raise CertificateRefused(
            Reason.PRINCIPAL_MISMATCH,
            f"the certificate of {certificate.key_id!r} is not good for login {login!r}",
        )
    options = critical_texts(certificate)
    if "source-address" in options:
        check_source_address(options["source-address"], source_address)
    if "force-command" in options and not honours_force_command:
        raise CertificateRefused(Reason.FORCE_COMMAND, "forced commands are not honoured here")
    own = own_extensions(certificate)
    return construct_verified(
        VerifiedUserCertificate,
        key_id=certificate.key_id,
        serial=certificate.serial,
        principals=certificate.principals,
        extensions=frozenset(certificate.extensions) - set(OWN_EXTENSIONS),
        **own,
        force_command=options.get("force-command"),
        source_address=options.get("source-address"),
        valid_after=certificate.valid_after,
        valid_before=certificate.valid_before,
        public_key_blob=public_key_blob(certificate.public_key),
        ca_key_blob=certificate.ca_key_blob,
    )


def verify_host_certificate(
    blob: bytes, *, trusted_cas: Collection[bytes], host_name: str, now: int
) -> VerifiedHostCertificate:
    """Check a node's certificate completely, except for possession of its key, which the key exchange proves.

    ``host_name`` must equal one of the principals byte by byte: no patterns, no case folding (threats A13,
    F4). ``trusted_cas`` are the plain public keys (wire form) of the host-SSH CAs and of nothing else.

    Raises CertificateRefused.
    """
    certificate = verified_fields(blob, CertificateKind.HOST, trusted_cas, now)
    if host_name not in certificate.principals:
        raise CertificateRefused(
            Reason.PRINCIPAL_MISMATCH,
            f"the certificate is for {', '.join(certificate.principals)}, not {host_name}",
        )
    if certificate.critical_options:
        raise CertificateRefused(
            Reason.UNKNOWN_CRITICAL_OPTION, "a host certificate has no critical options, this one has"
        )
    return construct_verified(
        VerifiedHostCertificate,
        key_id=certificate.key_id,
        serial=certificate.serial,
        principals=certificate.principals,
        valid_after=certificate.valid_after,
        valid_before=certificate.valid_before,
        public_key_blob=public_key_blob(certificate.public_key),
        ca_key_blob=certificate.ca_key_blob,
    )


def verified_fields(
    blob: bytes, kind: CertificateKind, trusted_cas: Collection[bytes], now: int
) -> SshCertificate:
    if len(blob) > MAX_CERTIFICATE_BYTES:
        raise CertificateRefused(Reason.TOO_LARGE, f"a certificate of {len(blob)} bytes is refused unread")
    try:
        certificate = parse_ssh_certificate(blob)
    except MalformedWireError as error:
        raise CertificateRefused(Reason.MALFORMED, f"the certificate is malformed: {error}") from None
    except InvalidKeyError as error:
        raise CertificateRefused(Reason.UNSUPPORTED_KEY, f"the certified key is refused: {error}") from None
    if certificate.kind != kind:
        raise CertificateRefused(
            Reason.WRONG_TYPE,
            f"a {kind.name.lower()} certificate is needed, this is one of type {certificate.kind}",
        )
    check_signature(certificate, trusted_cas)
    check_window("the certificate", certificate.valid_after, certificate.valid_before, now)
    if not certificate.principals:
        raise CertificateRefused(Reason.NO_PRINCIPALS, "the certificate names no principals")
    return certificate


def check_signature(certificate: SshCertificate, trusted_cas: Collection[bytes]) -> None:
    """The signer is a plain key, byte-equal to a trusted one, and did sign (threat A4: CVE-2025-49825)."""
    if certificate.ca_key_blob not in trusted_cas:
        raise CertificateRefused(
            Reason.UNTRUSTED_SIGNER,
            "the certificate is not signed by a certificate authority that is trusted for this",
        )
    try:
        ca_key = parse_public_key_blob(certificate.ca_key_blob)
        valid = signature_is_valid(ca_key, certificate.signature, certificate.signed_bytes)
    except InvalidKeyError as error:
        raise CertificateRefused(Reason.UNTRUSTED_SIGNER, f"the signer is unusable: {error}") from None
    except MalformedWireError as error:
        raise CertificateRefused(Reason.BAD_SIGNATURE, f"the signature is malformed: {error}") from None
    if not valid:
        raise CertificateRefused(
            Reason.BAD_SIGNATURE, "the signature is wrong, or by an algorithm that is not accepted"
        )


def critical_texts(certificate: SshCertificate) -> dict[str, str]:
    """Critical options as text; each is known and holds exactly one string."""
    unknown = sorted(set(certificate.critical_options) - CRITICAL_OPTIONS)
    if unknown:
        raise CertificateRefused(
            Reason.UNKNOWN_CRITICAL_OPTION, f"the certificate has the unknown critical option {unknown[0]!r}"
        )
    return {name: option_text(name, data) for name, data in certificate.critical_options.items()}


def option_text(name: str, data: bytes) -> str:
    try:
        reader = WireReader(data)
        text = reader.read_text()
        reader.expect_end()
    except MalformedWireError as error:
        raise CertificateRefused(Reason.MALFORMED, f"the option {name!r} is malformed: {error}") from None
    if not text and name != ROLES_EXTENSION:
        raise CertificateRefused(Reason.MALFORMED, f"the option {name!r} is empty")
    return text


def check_source_address(blocks_text: str, source_address: str) -> None:
    try:
        blocks = parse_source_addresses(blocks_text)
    except InvalidAddressError as error:
        raise CertificateRefused(Reason.SOURCE_ADDRESS, f"its source-address is malformed: {error}") from None
    if not source_address_matches(blocks, source_address):
        raise CertificateRefused(
            Reason.SOURCE_ADDRESS,
            f"the certificate is pinned to {blocks_text}, the client is at {source_address or 'no address'}",
        )


def own_extensions(certificate: SshCertificate) -> dict[str, Any]:
    """Roles, traits, access requests and device; also refuses flag extensions with a value and a key id that is no
    user name.
    """
    for name in FLAG_EXTENSIONS & certificate.extensions.keys():
        if certificate.extensions[name]:
            raise CertificateRefused(Reason.MALFORMED, f"the extension {name!r} has a value")
    texts = {
        name: option_text(name, certificate.extensions[name])
        for name in OWN_EXTENSIONS
        if name in certificate.extensions
    }
    try:
        check_user_name(certificate.key_id)
        return {
            "roles": decode_roles(texts.get(ROLES_EXTENSION, "")),
            "traits": MappingProxyType(decode_traits(texts.get(TRAITS_EXTENSION, "{}"))),
            "request_ids": decode_request_ids(texts[REQUESTS_EXTENSION])
            if REQUESTS_EXTENSION in texts
            else (),
            "device_id": check_device_id(texts[DEVICE_EXTENSION]) if DEVICE_EXTENSION in texts else "",
        }
    except (IdentityError, InvalidNameError) as error:
        raise CertificateRefused(Reason.BAD_IDENTITY, f"its identity is malformed: {error}") from None
