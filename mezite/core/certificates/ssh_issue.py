# SPDX-License-Identifier: Apache-2.0
"""Issuing SSH certificates. Serials, nonces and times come from the caller; nothing is issued that the
verifier
would refuse.
"""

import re
from collections.abc import Collection, Mapping

import attrs

from mezite.core.certificates.identity import check_device_id, encode_request_ids, encode_roles, encode_traits
from mezite.core.certificates.keys import PrivateKey, PublicKey
from mezite.core.certificates.source_address import parse_address, parse_source_addresses
from mezite.core.certificates.ssh_certificate import (
    MAX_CERTIFICATE_BYTES,
    MAX_NONCE_BYTES,
    MAX_PRINCIPALS,
    MIN_NONCE_BYTES,
    CertificateKind,
    SshCertificate,
    encode_unsigned,
)
from mezite.core.certificates.ssh_public_key import public_key_blob, sign
from mezite.core.certificates.ssh_wire import encode_string
from mezite.core.names import check_login, check_node_name, check_user_name

__all__ = [
    "CRITICAL_OPTIONS",
    "DEVICE_EXTENSION",
    "FLAG_EXTENSIONS",
    "NO_LOGIN_PRINCIPAL",
    "REQUESTS_EXTENSION",
    "ROLES_EXTENSION",
    "TRAITS_EXTENSION",
    "HostCertificateSpec",
    "UserCertificateSpec",
    "issue_host_certificate",
    "issue_user_certificate",
]

ROLES_EXTENSION = "roles@mezite"
TRAITS_EXTENSION = "traits@mezite"
REQUESTS_EXTENSION = "requests@mezite"
"""Ids of the approved access requests that the certificate was issued for; absent when there are none."""

DEVICE_EXTENSION = "device@mezite"
"""Id of the enrolled device that proved its key at the login; absent when none did."""

FLAG_EXTENSIONS = frozenset(
    {
        "permit-X11-forwarding",
        "permit-agent-forwarding",
        "permit-port-forwarding",
        "permit-pty",
        "permit-user-rc",
    }
)
"""Extensions of PROTOCOL.certkeys without a value."""

CRITICAL_OPTIONS = frozenset({"force-command", "source-address"})
"""``verify-required`` concerns security keys, which are not supported yet."""

NO_LOGIN_PRINCIPAL = "-mezite-no-login"
"""The only principal of a user without logins: no account can have this name, and to some readers of the
format an empty list would mean anyone (threat A4)."""

FORCE_COMMAND = re.compile(r"[^\x00-\x1f\x7f]{1,4096}")


@attrs.frozen(kw_only=True)
class UserCertificateSpec:
    """What to put into a user's certificate."""

    serial: int
    """0 <= serial < 2**64; unique per CA, it is what audit events name."""
    key_id: str
    """The user's name."""
    principals: Collection[str]
    """Allowed logins, at least one; without any the certificate would mean "every login" in the format."""
    valid_after: int
    valid_before: int
    """Seconds since 1970; ``valid_before`` is the first second at which it is expired."""
    nonce: bytes
    """16 to 64 random bytes (32 by convention)."""
    extensions: Collection[str] = ()
    """Names out of FLAG_EXTENSIONS."""
    critical_options: Mapping[str, str] = attrs.field(factory=dict)
    """``source-address`` and ``force-command`` with their text."""
    roles: Collection[str] = ()
    traits: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    request_ids: Collection[str] = ()
    """Access requests that it is issued for."""
    device_id: str = ""
    """The enrolled device that it is issued to; empty for none."""


@attrs.frozen(kw_only=True)
class HostCertificateSpec:
    """What to put into a node's certificate."""

    serial: int
    key_id: str
    """Free text for logs; by convention the agent id."""
    principals: Collection[str]
    """What users type: node name, ``NODE.CLUSTER``, the hub's public name or address; at least one, no patterns."""
    valid_after: int
    valid_before: int
    nonce: bytes
    """16 to 64 random bytes (32 by convention)."""


def issue_user_certificate(ca_key: PrivateKey, public_key: PublicKey, spec: UserCertificateSpec) -> bytes:
    """A signed user certificate on the wire; ``ssh_public_key.authorized_key_line`` makes a line of it.

    Raises ValueError (InvalidNameError, IdentityError, InvalidAddressError, InvalidKeyError and others are
    kinds of it): the certificate would be one that verify_user_certificate refuses.
    """
    check_user_name(spec.key_id)
    if tuple(spec.principals) != (NO_LOGIN_PRINCIPAL,):
        for login in spec.principals:
            check_login(login)
    unknown = set(spec.extensions) - FLAG_EXTENSIONS | set(spec.critical_options) - CRITICAL_OPTIONS
    if unknown:
        raise ValueError(f"unknown certificate options: {', '.join(sorted(unknown))}")
    extensions = dict.fromkeys(spec.extensions, b"") | own_extensions(spec)
    if "source-address" in spec.critical_options:
        parse_source_addresses(spec.critical_options["source-address"])
    if FORCE_COMMAND.fullmatch(spec.critical_options.get("force-command", "none")) is None:
        raise ValueError("a forced command is one line of 1 to 4096 characters")
    certificate = SshCertificate(
        nonce=spec.nonce,
        public_key=public_key,
        serial=spec.serial,
        kind=CertificateKind.USER,
        key_id=spec.key_id,
        principals=tuple(spec.principals),
        valid_after=spec.valid_after,
        valid_before=spec.valid_before,
        critical_options={name: encode_string(text.encode()) for name, text in spec.critical_options.items()},
        extensions=extensions,
        ca_key_blob=public_key_blob(ca_key.public_key()),
    )
    return signed(certificate, ca_key)


def own_extensions(spec: UserCertificateSpec) -> dict[str, bytes]:
    texts = {ROLES_EXTENSION: encode_roles(spec.roles), TRAITS_EXTENSION: encode_traits(spec.traits)}
    if spec.request_ids:
        texts[REQUESTS_EXTENSION] = encode_request_ids(spec.request_ids)
    if spec.device_id:
        texts[DEVICE_EXTENSION] = check_device_id(spec.device_id)
    return {name: encode_string(text.encode("ascii")) for name, text in texts.items()}


def issue_host_certificate(ca_key: PrivateKey, public_key: PublicKey, spec: HostCertificateSpec) -> bytes:
    """A signed host certificate on the wire.

    Raises ValueError (InvalidNameError, InvalidKeyError and others are kinds of it): the certificate would
    be one that verify_host_certificate refuses.
    """
    for name in spec.principals:
        check_host(name)
    if not spec.key_id.isprintable():
        raise ValueError("the key id has control characters")
    certificate = SshCertificate(
        nonce=spec.nonce,
        public_key=public_key,
        serial=spec.serial,
        kind=CertificateKind.HOST,
        key_id=spec.key_id,
        principals=tuple(spec.principals),
        valid_after=spec.valid_after,
        valid_before=spec.valid_before,
        critical_options={},
        extensions={},
        ca_key_blob=public_key_blob(ca_key.public_key()),
    )
    return signed(certificate, ca_key)


def check_host(name: str) -> None:
    """A host is dialled by a name or by an address; an IPv6 address is the only one that is no node name."""
    if ":" in name:
        parse_address(name)
    else:
        check_node_name(name)


def signed(certificate: SshCertificate, ca_key: PrivateKey) -> bytes:
    if not 1 <= len(certificate.principals) <= MAX_PRINCIPALS:
        raise ValueError(f"{len(certificate.principals)} principals are not between 1 and {MAX_PRINCIPALS}")
    if len(set(certificate.principals)) != len(certificate.principals):
        raise ValueError("a principal is listed twice")
    if not MIN_NONCE_BYTES <= len(certificate.nonce) <= MAX_NONCE_BYTES:
        raise ValueError(f"the nonce has {len(certificate.nonce)} bytes")
    if not 0 <= certificate.valid_after < certificate.valid_before < 2**64:
        raise ValueError("the certificate would end before it begins")
    if not 0 <= certificate.serial < 2**64:
        raise ValueError("the serial does not fit 64 bits")
    unsigned = encode_unsigned(certificate)
    blob = unsigned + encode_string(sign(ca_key, unsigned))
    if len(blob) > MAX_CERTIFICATE_BYTES:
        raise ValueError(f"the certificate would have {len(blob)} bytes: too many traits or principals")
    return blob
