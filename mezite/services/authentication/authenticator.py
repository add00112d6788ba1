# SPDX-License-Identifier: Apache-2.0
"""From a credential to an identity, or a refusal that says no more than it must."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, TypeVar

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.validity import BACKDATE_SECONDS
from mezite.core.certificates.verified import VerifiedPeer, VerifiedUserCertificate
from mezite.core.rbac.roles import Role
from mezite.core.secret import token_hash
from mezite.services.access.authorization import AccessContext, holder_subjects
from mezite.services.access.lock_feed import LockFeed
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.errors import LockedError, UnauthenticatedError
from mezite.services.identity.address_pins import is_pinned_here
from mezite.services.identity.identities import (
    AgentIdentity,
    Identity,
    UserIdentity,
    agent_of_peer,
    user_of_app_session,
    user_of_peer,
    user_of_session,
    user_of_ssh_certificate,
)
from mezite.services.identity.requested_access import RequestedAccess, requested_access
from mezite.services.identity.role_definitions import definitions
from mezite.services.identity.trusted_device import trusted_device
from mezite.services.sources import Sources
from mezite.storage import agents, app_sessions, users, web_sessions
from mezite.storage.agents import AgentRow
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.database import Database
from mezite.storage.users import UserRow
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Authenticator"]

_I = TypeVar("_I", UserIdentity, AgentIdentity)

_LOG_IN_AGAIN = "log in again"

HUB_SKEW_S = 10
"""How far the clocks of two hubs may be apart when one creates a user and the other one issues the certificate."""


class Authenticator:
    """Checks credentials against the database as it is now (threats E6, F8)."""

    def __init__(
        self,
        *,
        database: Database,
        authorities: CertificateAuthorities,
        sources: Sources,
        locks: LockFeed,
    ) -> None:
        self._database = database
        self._authorities = authorities
        self._sources = sources
        self._locks = locks

    def context(self, client_address: str) -> AccessContext:
        """Return the circumstances of a request that comes from there now: a fresh id, the locks in force."""
        return AccessContext(
            client_address=client_address, decision_id=self._sources.new_id(), locks=self._locks.current
        )

    async def by_session(self, token: str, kind: WebSessionKind = WebSessionKind.API) -> UserIdentity:
        """Return who holds this session, shown the way its kind is shown: in a cookie or as a bearer token.

        :raises UnauthenticatedError: unknown, expired or revoked session, or the user is gone or disabled.
        :raises LockedError: there is a lock on the user or a role of theirs.
        """
        hashed, now = token_hash(token), self._sources.now()

        def look_up(conn: Connection) -> tuple[WebSessionRow | None, UserRow | None, tuple[Role, ...]]:
            session = web_sessions.get_live(conn, token_hash=hashed, now=now)
            return session, *((None, ()) if session is None else _user_and_roles(conn, session.user_name))

        session, user, roles = await self._database.read(look_up)
        found = session is not None and hmac.compare_digest(session.token_hash, hashed)
        if session is None or user is None or not found or session.kind is not kind:
            raise UnauthenticatedError(f"the session is unknown or has ended: {_LOG_IN_AGAIN}")
        self._check_enabled(user)
        return self._unlocked(user_of_session(session, user, roles))

    async def by_app_session(self, token: str, host: str) -> tuple[UserIdentity, AppSessionRow]:
        """Return who holds this session at the application of that host, and the session (threat D18).

        :raises UnauthenticatedError: unknown, expired or revoked, or of another host; the web session it came from is
            over, or the user is gone or disabled.
        :raises LockedError: there is a lock on the user or a role of theirs.
        """
        hashed, now = token_hash(token), self._sources.now()

        def look_up(
            conn: Connection,
        ) -> tuple[AppSessionRow | None, WebSessionRow | None, UserRow | None, tuple[Role, ...]]:
            session = app_sessions.get_live(conn, token_hash=hashed, host=host, now=now)
            if session is None:
                return None, None, None, ()
            origin = web_sessions.get_live(conn, token_hash=session.web_session, now=now)
            return session, origin, *_user_and_roles(conn, session.user_name)

        session, origin, user, roles = await self._database.read(look_up)
        if session is None or origin is None or user is None:
            raise UnauthenticatedError(f"the session at this application has ended: {_LOG_IN_AGAIN}")
        self._check_enabled(user)
        return self._unlocked(user_of_app_session(session, origin, user, roles)), session

    async def by_tls_certificate(self, der: bytes, client_address: str = "") -> Identity:
        """Return the user or agent behind a certificate that the TLS handshake has proven possession of.

        Without a `client_address` (`ip:port`) a user's certificate that is pinned is good for nothing.

        :raises UnauthenticatedError: refused certificate, unknown user or agent, disabled user; another address than
            the certificate is pinned to.
        :raises LockedError: there is a lock on the user, a role of theirs, the agent or the certificate.
        """
        peer = self._verified_peer(der)
        if peer.kind is PeerKind.AGENT:
            return await self.agent(peer)
        if peer.kind is PeerKind.USER:
            issued_at = peer.not_before + BACKDATE_SECONDS
            found = await self._user(peer.name, issued_at, peer)
            if peer.source_address and not is_pinned_here(peer.source_address, client_address):
                raise UnauthenticatedError(
                    f"the certificate is good from {peer.source_address} only, and you come from "
                    f"{client_address or 'an unknown address'}: {_LOG_IN_AGAIN}"
                )
            return self._unlocked(user_of_peer(peer, *found))
        raise UnauthenticatedError("a hub's certificate is not good for this: use a user's or an agent's")

    async def by_ssh_certificate(self, certificate: VerifiedUserCertificate) -> UserIdentity:
        """Return the user behind a verified SSH certificate.

        :raises UnauthenticatedError: the user is gone or disabled.
        :raises LockedError: there is a lock on the user, a role of theirs or the certificate.
        """
        issued_at = certificate.valid_after + BACKDATE_SECONDS
        found = await self._user(certificate.key_id, issued_at, certificate)
        return self._unlocked(user_of_ssh_certificate(certificate, *found))

    async def agent(self, peer: VerifiedPeer) -> AgentIdentity:
        """Return the agent behind a verified certificate.

        :raises UnauthenticatedError: the agent is unknown or was removed.
        :raises LockedError: it is locked; the message says why.
        """
        return self._unlocked(agent_of_peer(peer, await self._agent(peer.name)))

    async def still(self, agent: AgentIdentity) -> AgentIdentity:
        """Return the agent at the other end of a tunnel, as long as it may be there.

        The certificate of the handshake may have expired since: the agent renews it through this very tunnel, and a
        tunnel lives for months.

        :raises UnauthenticatedError: it was removed. :raises LockedError: it is locked.
        """
        await self._agent(agent.agent_id)
        return self._unlocked(agent)

    def _unlocked(self, identity: _I) -> _I:
        lock = self._locks.current.find(holder_subjects(identity))
        if lock is not None:
            raise LockedError(lock.reason)
        return identity

    async def _agent(self, agent_id: str) -> AgentRow:
        row = await self._database.read(agents.get, agent_id=agent_id)
        if row is None or row.removed_at is not None:
            raise UnauthenticatedError(
                f"agent {agent_id} is not known here: it was removed; "
                "delete its data directory and join again with a new token"
            )
        self.check_agent(row)
        return row

    def check_agent(self, row: AgentRow) -> None:
        """:raises LockedError: the agent is locked."""
        if row.locked_at is not None:
            raise LockedError(
                f"agent {row.agent_id} is locked: {row.lock_reason}; delete the data directory of every copy "
                "and join again with a new token"
            )

    def _verified_peer(self, der: bytes) -> VerifiedPeer:
        try:
            return self._authorities.verify_client(der, now=self._sources.now())
        except CertificateRefused as refused:
            raise UnauthenticatedError(f"the client certificate was refused: {refused.message}") from None

    async def _user(
        self, name: str, issued_at: int, certificate: VerifiedPeer | VerifiedUserCertificate
    ) -> tuple[UserRow, tuple[Role, ...], RequestedAccess, str]:
        """The user of a certificate that was issued at `issued_at`, in seconds, what they may, and at which device.

        A name that was deleted and given away again is another user: certificates from before are not theirs (E6).
        """
        now = self._sources.now()

        def look_up(conn: Connection) -> tuple[UserRow | None, tuple[Role, ...], RequestedAccess, str]:
            user, roles = _user_and_roles(conn, name)
            requested = requested_access(conn, name, roles, certificate.request_ids, now=now)
            return user, roles, requested, trusted_device(conn, name, certificate.device_id)

        user, roles, requested, device_id = await self._database.read(look_up)
        if user is None or issued_at + HUB_SKEW_S < user.created_at // 1000:
            raise UnauthenticatedError(f"user {name} is not known here: {_LOG_IN_AGAIN}")
        self._check_enabled(user)
        return user, roles, requested, device_id

    def _check_enabled(self, user: UserRow) -> None:
        if user.disabled_at is not None:
            raise UnauthenticatedError(f"user {user.name} is disabled: ask an administrator")


def _user_and_roles(conn: Connection, name: str) -> tuple[UserRow | None, tuple[Role, ...]]:
    user = users.get(conn, name=name)
    return user, () if user is None else definitions(conn, user.roles)
