# SPDX-License-Identifier: Apache-2.0
"""Who is asking: identities that exist only because a credential was verified.

An identity object cannot be made by calling its class, nor changed on the way: only the functions of this module make
them, and each takes the value that proves the credential (threat A2: an offered key is not a proven key).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cached_property
from typing import Any, NoReturn, TypeVar, cast, final

import attrs

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.verified import VerifiedPeer, VerifiedUserCertificate
from mezite.core.rbac.app_grants import AppGrants
from mezite.core.rbac.evaluator import NodeGrants
from mezite.core.rbac.request_rules import with_nodes
from mezite.core.rbac.roles import BUILT_IN_ROLES, Role
from mezite.services.identity.address_pins import own_block
from mezite.services.identity.requested_access import NOTHING_REQUESTED, RequestedAccess
from mezite.storage.agents import AgentRow
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.devices import DeviceRow
from mezite.storage.machine_identities import MachineRow
from mezite.storage.users import UserRow
from mezite.storage.web_sessions import WebSessionRow

__all__ = [
    "AgentIdentity",
    "CredentialKind",
    "Identity",
    "UserIdentity",
    "agent_of_peer",
    "user_as_now",
    "user_of_app_session",
    "user_of_machine",
    "user_of_peer",
    "user_of_session",
    "user_of_ssh_certificate",
    "with_device",
    "with_requested",
]


class CredentialKind(Enum):
    """What was verified."""

    SESSION = "session"
    APP_SESSION = "application session"
    TLS_CERTIFICATE = "tls certificate"
    SSH_CERTIFICATE = "ssh certificate"
    MACHINE = "machine identity"


_T = TypeVar("_T")


class _MadeHere(type):
    """Metaclass of classes that cannot be called, and so neither made by hand nor copied with changes."""

    def __call__(cls, *args: object, **fields: object) -> NoReturn:
        """Raise TypeError, always."""
        raise TypeError(f"a {cls.__name__} is made from a verified credential, not by calling its class")


def _make(cls: type[_T], **fields: Any) -> _T:
    return cast(_T, type.__call__(cls, **fields))


class _NotPickled:
    """What came through a file or a socket is verified no more."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Raise TypeError, always."""
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: verify the credential again")


@final
@attrs.frozen(kw_only=True)
class UserIdentity(_NotPickled, metaclass=_MadeHere):
    """A person."""

    name: str
    roles: tuple[str, ...]
    """As stored now, not as they were when the credential was issued (threat E6); granted ones included."""
    standing: tuple[Role, ...]
    """What the roles that the user has for good are now; a role that does not exist is not among them. Only these let
    their holder ask for access and review it (threat E18)."""
    traits: Mapping[str, tuple[str, ...]]
    claims: Mapping[str, tuple[str, ...]]
    """What the connector said at the last login (`{{external.…}}` in roles); nothing for local users."""
    credential: CredentialKind
    expires_at: int
    """When the credential ends, milliseconds since 1970."""
    session_hash: str = ""
    """The stored hash of the web session, for logging out; empty for certificates. Of an application session: that of
    the web session it came from, and cannot outlive."""
    app_session: str = ""
    """The id of the application session; empty for other credentials."""
    logins: tuple[str, ...] | None = None
    """The principals of the SSH certificate: an upper bound on logins. None: the credential sets no bound."""
    serial: str = ""
    """The certificate's serial in decimal; the two that are issued together share one. Empty for sessions."""

    requested: RequestedAccess = NOTHING_REQUESTED
    """What approved access requests add."""
    pinned_to: str = ""
    """The address blocks that the certificate is good for; of a session, the address of its login. Empty: none."""
    device_id: str = ""
    """The trusted device behind the credential, as of now; empty for none."""
    user_created_at: int
    """When the account was made, milliseconds: tells this user from a later one of the same name."""

    @property
    def definitions(self) -> tuple[Role, ...]:
        """All roles that count, the granted ones included."""
        return (*self.standing, *self.requested.definitions)

    def definitions_on(self, node_name: str) -> tuple[Role, ...]:
        """All roles as they count on this node: on a granted one, a role that names it allows its logins."""
        if node_name not in self.requested.nodes:
            return self.definitions
        return (*with_nodes(self.standing, (node_name,)), *self.requested.definitions)

    @property
    def definitions_anywhere(self) -> tuple[Role, ...]:
        """All roles as they count on some node: an upper bound, for the principals of a certificate."""
        return (*with_nodes(self.standing, self.requested.nodes), *self.requested.definitions)

    @cached_property
    def grants(self) -> NodeGrants:
        """What the roles allow on nodes, prepared for asking about many."""
        return NodeGrants(self.definitions, self.traits, self.claims)

    @cached_property
    def app_grants(self) -> AppGrants:
        """What the roles allow on applications."""
        return AppGrants(self.definitions)

    def grants_on(self, node_name: str) -> NodeGrants:
        """What the roles allow on this node."""
        if node_name not in self.requested.nodes:
            return self.grants
        return NodeGrants(self.definitions_on(node_name), self.traits, self.claims)


@final
@attrs.frozen(kw_only=True)
class AgentIdentity(_NotPickled, metaclass=_MadeHere):
    """An agent, by its certificate."""

    agent_id: str
    node_name: str
    generation: int
    expires_at: int
    serial: str
    """The certificate's serial in decimal."""


Identity = UserIdentity | AgentIdentity


def _user(
    user: UserRow,
    definitions: tuple[Role, ...] | None,
    *,
    credential: CredentialKind,
    expires_at: int,
    requested: RequestedAccess = NOTHING_REQUESTED,
    **bounds: object,
) -> UserIdentity:
    built_in = tuple(BUILT_IN_ROLES[name] for name in user.roles if name in BUILT_IN_ROLES)
    return _make(
        UserIdentity,
        name=user.name,
        roles=(*user.roles, *(role.name for role in requested.definitions)),
        standing=built_in if definitions is None else definitions,
        requested=requested,
        traits=_traits(user),
        claims=user.claims,
        user_created_at=user.created_at,
        credential=credential,
        expires_at=expires_at,
        **bounds,
    )


def _traits(user: UserRow) -> dict[str, tuple[str, ...]]:
    return {key: tuple(values) for key, values in user.traits.items()}


def user_of_session(
    session: WebSessionRow, user: UserRow, definitions: tuple[Role, ...] | None = None
) -> UserIdentity:
    """Make the identity behind a session row that was found by the hash of its secret.

    `definitions` are the user's roles as they are now; None: only built-in roles count.

    :raises ValueError: the session is another user's.
    """
    if session.user_name != user.name:
        raise ValueError("the session belongs to another user")
    return _user(
        user,
        definitions,
        credential=CredentialKind.SESSION,
        expires_at=session.expires_at,
        session_hash=session.token_hash,
        pinned_to=own_block(session.client_ip),
    )


def user_of_machine(
    machine: MachineRow, user: UserRow, definitions: tuple[Role, ...], *, now: int, pinned_to: str = ""
) -> UserIdentity:
    """Make the identity that a machine's next certificates are for.

    `machine` was found by a token that it has shown, or by its newest certificate; then `pinned_to` is that one's.

    :raises ValueError: the machine is another user's.
    """
    if machine.name != user.name:
        raise ValueError("the machine identity is another user's")
    return _user(
        user,
        definitions,
        credential=CredentialKind.MACHINE,
        expires_at=now + machine.max_ttl_seconds * 1000,
        pinned_to=pinned_to,
    )


def user_of_app_session(
    session: AppSessionRow, origin: WebSessionRow, user: UserRow, definitions: tuple[Role, ...]
) -> UserIdentity:
    """Make the identity behind an application session that was found by the hash of its secret and its host.

    `origin` is the web session it came from: the address of that login is what it is pinned to.

    :raises ValueError: one of them is another user's, or the session came from another one.
    """
    if not session.user_name == origin.user_name == user.name or session.web_session != origin.token_hash:
        raise ValueError("the application session belongs to another user or login")
    return _user(
        user,
        definitions,
        credential=CredentialKind.APP_SESSION,
        expires_at=min(session.ends_at, origin.expires_at),
        session_hash=origin.token_hash,
        app_session=session.id,
        pinned_to=own_block(origin.client_ip),
    )


def user_of_peer(
    peer: VerifiedPeer,
    user: UserRow,
    definitions: tuple[Role, ...] | None = None,
    requested: RequestedAccess = NOTHING_REQUESTED,
    device_id: str = "",
) -> UserIdentity:
    """Make the identity behind a verified X.509 user certificate.

    `requested` is what the access requests that the certificate names are worth now, `device_id` the device that it
    names, if that is trusted now.

    :raises ValueError: the certificate is not a user's, or another user's, or not for these requests.
    """
    if peer.kind is not PeerKind.USER or peer.name != user.name:
        raise ValueError("the certificate is not this user's")
    _check_named(requested, peer.request_ids)
    _check_device(device_id, peer.device_id)
    return _user(
        user,
        definitions,
        credential=CredentialKind.TLS_CERTIFICATE,
        expires_at=peer.not_after * 1000,
        requested=requested,
        device_id=device_id,
        serial=str(peer.serial),
        pinned_to=peer.source_address,
    )


def user_of_ssh_certificate(
    certificate: VerifiedUserCertificate,
    user: UserRow,
    definitions: tuple[Role, ...] | None = None,
    requested: RequestedAccess = NOTHING_REQUESTED,
    device_id: str = "",
) -> UserIdentity:
    """Make the identity behind a verified SSH user certificate.

    `requested` is what the access requests that the certificate names are worth now, `device_id` the device that it
    names, if that is trusted now.

    :raises ValueError: the certificate is another user's, or not for these requests.
    """
    if certificate.key_id != user.name:
        raise ValueError("the certificate is not this user's")
    _check_named(requested, certificate.request_ids)
    _check_device(device_id, certificate.device_id)
    return _user(
        user,
        definitions,
        credential=CredentialKind.SSH_CERTIFICATE,
        expires_at=certificate.valid_before * 1000,
        logins=tuple(certificate.principals),
        requested=requested,
        device_id=device_id,
        serial=str(certificate.serial),
        pinned_to=certificate.source_address or "",
    )


def _check_named(requested: RequestedAccess, named: tuple[str, ...]) -> None:
    if not set(requested.request_ids) <= set(named):
        raise ValueError("the certificate does not name these access requests")


def _check_device(device_id: str, named: str) -> None:
    if device_id not in ("", named):
        raise ValueError("the certificate does not name this device")


def with_device(identity: UserIdentity, device: DeviceRow) -> UserIdentity:
    """The same user at a trusted device that has proven its key: for issuing a certificate that names it.

    :raises ValueError: the device is another user's, or not trusted.
    """
    if device.user_name != identity.name or device.approved_at is None:
        raise ValueError("this is no trusted device of the user")
    return _make(UserIdentity, **{**attrs.asdict(identity, recurse=False), "device_id": device.device_id})


def with_requested(identity: UserIdentity, requested: RequestedAccess) -> UserIdentity:
    """The same user with what these requests of theirs are worth, instead of those of the credential: for issuing a
    certificate that names them.
    """
    before = {role.name for role in identity.requested.definitions}
    standing = (name for name in identity.roles if name not in before)
    fields = attrs.asdict(identity, recurse=False)
    fields |= {
        "roles": (*standing, *(role.name for role in requested.definitions)),
        "requested": requested,
    }
    return _make(UserIdentity, **fields)


def user_as_now(
    identity: UserIdentity,
    user: UserRow,
    definitions: tuple[Role, ...],
    requested: RequestedAccess,
    device_id: str = "",
) -> UserIdentity:
    """The same user, by the same credential, with the rights that they have now.

    :raises ValueError: the row is another user's, or the requests or the device are not those of the credential.
    """
    if user.name != identity.name or user.created_at != identity.user_created_at:
        raise ValueError("the row is not this user's")
    _check_named(requested, identity.requested.request_ids)
    _check_device(device_id, identity.device_id)
    fields = attrs.asdict(identity, recurse=False)
    fields |= {
        "roles": (*user.roles, *(role.name for role in requested.definitions)),
        "standing": definitions,
        "requested": requested,
        "traits": _traits(user),
        "claims": user.claims,
        "device_id": device_id,
    }
    return _make(UserIdentity, **fields)


def agent_of_peer(peer: VerifiedPeer, agent: AgentRow) -> AgentIdentity:
    """Make the identity behind a verified agent certificate.

    :raises ValueError: the certificate is not an agent's, or another agent's.
    """
    if peer.kind is not PeerKind.AGENT or peer.name != agent.agent_id or peer.generation is None:
        raise ValueError("the certificate is not this agent's")
    return _make(
        AgentIdentity,
        agent_id=agent.agent_id,
        node_name=agent.node_name,
        generation=peer.generation,
        expires_at=peer.not_after * 1000,
        serial=str(peer.serial),
    )
