# SPDX-License-Identifier: Apache-2.0
"""Proof as a type: values that only the verifiers can make (threat A2).

A function that takes a VerifiedUserCertificate cannot be handed an offered, unverified one: the classes
refuse to be called, copied with changes, or unpickled; ``construct_verified`` is imported by the two
verifiers only, which a test checks.
"""

from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, cast, final

import attrs

from mezite.core.certificates.identity import PeerKind

__all__ = ["VerifiedHostCertificate", "VerifiedPeer", "VerifiedUserCertificate"]

T = TypeVar("T")


class VerifiedOnly(type):
    """Metaclass of classes that cannot be constructed by calling them."""

    def __call__(cls, *args: object, **fields: object) -> NoReturn:
        """Raises TypeError, always."""
        raise TypeError(f"{cls.__name__} is made by a verifier from a verified certificate, never by hand")


def construct_verified(cls: type[T], **fields: Any) -> T:
    """Make a verified value; for ``ssh_verify`` and ``x509_verify`` alone."""
    return cast(T, type.__call__(cls, **fields))


class NotPickled:
    """A value that came through a file or a socket is not verified any more."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raises TypeError, always."""
        raise TypeError(f"{type(self).__name__} cannot be pickled or copied: verify the certificate again")


@final
@attrs.frozen(kw_only=True)
class VerifiedUserCertificate(NotPickled, metaclass=VerifiedOnly):
    """A user's SSH certificate whose signature, window, principals and options have been checked.

    Possession of the key is not part of it: compare ``public_key_blob`` with the key that signed the
    exchange.
    """

    key_id: str
    """The user's name."""
    serial: int
    principals: tuple[str, ...]
    """The logins the certificate is good for; never empty."""
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    request_ids: tuple[str, ...] = ()
    """Approved access requests that it was issued for; whether they still count is to be asked at each use."""
    device_id: str = ""
    """The enrolled device that proved its key at the login; empty for none. Whether it is still trusted is to be asked
    at each use."""
    extensions: frozenset[str]
    """Names such as ``permit-pty``; what is not listed is not permitted."""
    force_command: str | None
    """To be run instead of whatever the client asks for; only present when the caller said it honours it."""
    source_address: str | None
    """The CIDR list the certificate is pinned to; already checked."""
    valid_after: int
    valid_before: int
    """Seconds since 1970; the first second at which it is no longer valid."""
    public_key_blob: bytes
    """The certified plain key on the wire."""
    ca_key_blob: bytes


@final
@attrs.frozen(kw_only=True)
class VerifiedHostCertificate(NotPickled, metaclass=VerifiedOnly):
    """A node's SSH certificate that is good for the host name it was checked against."""

    key_id: str
    serial: int
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    """Seconds since 1970; the first second at which it is no longer valid."""
    public_key_blob: bytes
    ca_key_blob: bytes


@final
@attrs.frozen(kw_only=True)
class VerifiedPeer(NotPickled, metaclass=VerifiedOnly):
    """Who is at the other end of a TLS connection, from a verified X.509 certificate."""

    kind: PeerKind
    name: str
    """Agent id, hub id or user name, by ``kind``."""
    cluster: str
    generation: int | None
    """Agents only: how often this identity was renewed; two holders of a copied identity drift apart by it.
    """
    node_name: str | None
    """Agents only."""
    roles: tuple[str, ...]
    """Users only, else empty."""
    traits: Mapping[str, tuple[str, ...]]
    """Users only, else empty."""
    request_ids: tuple[str, ...] = ()
    """Users only: as in VerifiedUserCertificate."""
    device_id: str = ""
    """Users only: as in VerifiedUserCertificate."""
    source_address: str
    """Users only: the CIDR list that the certificate is pinned to, **not** yet checked; empty for none."""
    serial: int
    not_before: int
    not_after: int
    """Seconds since 1970; the first second at which it is no longer valid."""
    spki_sha256: str
    """Pin of the peer's key."""
