# SPDX-License-Identifier: Apache-2.0
"""What a certificate says about its holder beyond the key: identity URI, roles and traits, in one spelling
each.
"""

import enum
import json
import re
from collections.abc import Iterable, Mapping

from mezite.core.names import (
    InvalidNameError,
    check_agent_id,
    check_cluster_name,
    check_role_name,
    check_trait_name,
    check_user_name,
)

__all__ = [
    "IdentityError",
    "PeerKind",
    "check_device_id",
    "decode_request_ids",
    "decode_roles",
    "decode_traits",
    "encode_request_ids",
    "encode_roles",
    "encode_traits",
    "identity_uri",
    "parse_identity_uri",
]

MAX_ROLES = 64
MAX_REQUEST_IDS = 16
"""Of access requests that count at once; each id is a UUID."""

MAX_TRAIT_VALUES = 256
"""As many principals as OpenSSH allows in one certificate, and logins come from traits."""

MAX_TRAIT_VALUE = 256

URI = re.compile(r"mezite://([^/]*)/([^/]*)/([^/]*)", re.ASCII)


class PeerKind(enum.Enum):
    """Who can be at the other end of a mutual TLS connection; the value is the second part of the URI."""

    AGENT = "agent"
    HUB = "hub"
    USER = "user"


class IdentityError(ValueError):
    """Identity data in a certificate, or meant for one, is not in its one canonical form."""


def check_peer_name(kind: PeerKind, name: str) -> str:
    return check_user_name(name) if kind is PeerKind.USER else check_agent_id(name)


def identity_uri(cluster: str, kind: PeerKind, name: str) -> str:
    """``mezite://CLUSTER/agent/ID``, ``…/hub/ID`` or ``…/user/NAME``; nothing is ever escaped.

    Raises InvalidNameError: cluster or name break their grammar.
    """
    return f"mezite://{check_cluster_name(cluster)}/{kind.value}/{check_peer_name(kind, name)}"


def parse_identity_uri(uri: str) -> tuple[str, PeerKind, str]:
    """Cluster, kind and name. Raises IdentityError for everything that identity_uri does not write."""
    match = URI.fullmatch(uri)
    if match is None:
        raise IdentityError("the identity is not of the form mezite://CLUSTER/KIND/NAME")
    cluster, kind_text, name = match.groups()
    try:
        kind = PeerKind(kind_text)
        check_cluster_name(cluster)
        check_peer_name(kind, name)
    except InvalidNameError as error:
        raise IdentityError(f"the identity is not acceptable: {error}") from None
    except ValueError:
        raise IdentityError(f"the identity names an unknown kind {kind_text!r}") from None
    return cluster, kind, name


def encode_roles(roles: Iterable[str]) -> str:
    """Role names joined by commas, in the given order. Raises IdentityError: bad name, doubled, more than
    64.
    """
    names = tuple(roles)
    if len(names) > MAX_ROLES:
        raise IdentityError(f"{len(names)} roles are more than the {MAX_ROLES} a certificate can carry")
    if len(set(names)) != len(names):
        raise IdentityError("a role is listed twice")
    try:
        return ",".join(check_role_name(name) for name in names)
    except InvalidNameError as error:
        raise IdentityError(str(error)) from None


def decode_roles(text: str) -> tuple[str, ...]:
    """The inverse of encode_roles. Raises IdentityError."""
    names = tuple(text.split(",")) if text else ()
    encode_roles(names)
    return names


def encode_request_ids(ids: Iterable[str]) -> str:
    """Ids of access requests joined by commas, sorted. Raises IdentityError: bad id, doubled, more than 16."""
    listed = sorted(ids)
    if len(listed) > MAX_REQUEST_IDS:
        raise IdentityError(
            f"{len(listed)} access requests are more than the {MAX_REQUEST_IDS} a certificate can carry"
        )
    if len(set(listed)) != len(listed):
        raise IdentityError("an access request is listed twice")
    return ",".join(checked_id(identifier) for identifier in listed)


def decode_request_ids(text: str) -> tuple[str, ...]:
    """The inverse of encode_request_ids; none is written as nothing at all. Raises IdentityError."""
    ids = tuple(text.split(","))
    if encode_request_ids(ids) != text:
        raise IdentityError("the access requests are not in order")
    return ids


def check_device_id(identifier: str) -> str:
    """``identifier`` if it may be the id of a device. Raises IdentityError."""
    return checked_id(identifier)


def checked_id(identifier: str) -> str:
    try:
        return check_agent_id(identifier)
    except InvalidNameError as error:
        raise IdentityError(str(error)) from None


def encode_traits(traits: Mapping[str, Iterable[str]]) -> str:
    """Traits as ASCII JSON with sorted keys and no spaces.

    Raises IdentityError: a bad trait name, more than 256 values in all, a value longer than 256 characters.
    """
    plain = {name: list(values) for name, values in sorted(traits.items())}
    values = [value for values in plain.values() for value in values]
    if len(values) > MAX_TRAIT_VALUES or any(len(value) > MAX_TRAIT_VALUE for value in values):
        raise IdentityError(
            f"traits have more than {MAX_TRAIT_VALUES} values or one longer than {MAX_TRAIT_VALUE} characters"
        )
    try:
        for name in plain:
            check_trait_name(name)
    except InvalidNameError as error:
        raise IdentityError(str(error)) from None
    return json.dumps(plain, separators=(",", ":"), ensure_ascii=True)


def decode_traits(text: str) -> dict[str, tuple[str, ...]]:
    """The inverse of encode_traits; any other spelling of the same JSON is refused too.

    Raises IdentityError.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise IdentityError("the traits are not JSON") from None
    if not isinstance(document, dict):
        raise IdentityError("the traits are not a JSON object")
    for values in document.values():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise IdentityError("a trait is not a list of strings")
    if encode_traits(document) != text:
        raise IdentityError("the traits are not in canonical form")
    return {name: tuple(values) for name, values in document.items()}
