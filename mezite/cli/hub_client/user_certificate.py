# SPDX-License-Identifier: Apache-2.0
"""Reading the user's own certificates, to show them or to say that they are too old; nobody is let in by this."""

from __future__ import annotations

import time

import attrs

from mezite.cli.hub_client.profile_store import CurrentProfile, Profile
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.identity import IdentityError, decode_request_ids, decode_roles
from mezite.core.certificates.keys import InvalidKeyError
from mezite.core.certificates.ssh import NO_LOGIN_PRINCIPAL, parse_authorized_key_line
from mezite.core.certificates.ssh_certificate import parse_ssh_certificate
from mezite.core.certificates.ssh_wire import MalformedWireError, WireReader
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.durations import format_duration

__all__ = ["UserCertificate", "check_usable", "is_expired", "read_user_certificate"]


@attrs.frozen(kw_only=True)
class UserCertificate:
    """What the certificate says."""

    roles: tuple[str, ...]
    principals: tuple[str, ...]
    """Without the placeholder that stands for "no login at all"."""
    valid_before: int
    """Seconds since 1970."""
    request_ids: tuple[str, ...] = ()
    """Approved access requests that it is good for."""


def read_user_certificate(profile: Profile) -> UserCertificate:
    """Return what the profile's certificate says. :raises CliError: it is damaged."""
    try:
        _kind, blob = parse_authorized_key_line(profile.ssh_certificate.decode("ascii").strip())
        certificate = parse_ssh_certificate(blob)
        encoded = certificate.extensions.get("roles@mezite", b"\x00\x00\x00\x00")
        roles = decode_roles(WireReader(encoded).read_text())
        requests = certificate.extensions.get("requests@mezite")
        request_ids = () if requests is None else decode_request_ids(WireReader(requests).read_text())
    except (ValueError, InvalidKeyError, MalformedWireError, IdentityError) as error:
        raise CliError("your SSH certificate cannot be read", str(error), "run msh login again") from None
    return UserCertificate(
        roles=roles,
        principals=tuple(name for name in certificate.principals if name != NO_LOGIN_PRINCIPAL),
        valid_before=certificate.valid_before,
        request_ids=request_ids,
    )


def is_expired(profile: Profile) -> bool:
    """Whether the profile's X.509 certificate has expired. :raises CliError: it is damaged."""
    return _seconds_late(profile) >= 0


def check_usable(current: CurrentProfile, profile: Profile) -> None:
    """:raises CliError: the profile's X.509 certificate has expired or is damaged."""
    late = _seconds_late(profile)
    if late >= 0:
        raise CliError(
            f"your certificate for {current.cluster} expired {format_duration(int(late))} ago",
            "",
            f"run msh login --proxy={current.proxy_addr} --user={current.user}",
        )


def _seconds_late(profile: Profile) -> float:
    try:
        expires = load_certificates(profile.tls_certificate)[0].not_valid_after_utc.timestamp()
    except ValueError as error:
        raise CliError("your certificate cannot be read", str(error), "run msh login again") from None
    return time.time_ns() / 1e9 - expires
