# SPDX-License-Identifier: Apache-2.0
"""How a machine becomes a node: join tokens, first certificates, renewals."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.certificates.keys import InvalidKeyError
from mezite.core.join_token import format_join_token
from mezite.core.labels import InvalidLabelsError, check_labels
from mezite.core.names import InvalidNameError, check_node_name
from mezite.core.secret import Secret, token_hash
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authentication.source_limit import SecretGuesses
from mezite.services.authorities.certificate_authority import AgentCertificates, CertificateAuthorities
from mezite.services.errors import (
    ConflictError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    UnauthenticatedError,
)
from mezite.services.identity.identities import AgentIdentity
from mezite.services.nodes.peer_clock import check_clock
from mezite.services.sources import Sources
from mezite.storage import agents, join_tokens, trust
from mezite.storage.agents import AgentRow, NewAgent, RenewalRefusal, RenewedGeneration
from mezite.storage.database import Database
from mezite.storage.errors import NameTakenError
from mezite.storage.join_tokens import ConsumeFailure, JoinTokenRow
from mezite.storage.shared_writes import SharedWrites

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["CreatedJoinToken", "Enrolled", "Enrollment", "JoinRequest"]

MAX_TOKEN_TTL_MS = 7 * 24 * 3600 * 1000
"""A week covers an image built on Friday; a secret that lives longer is a password."""

MAX_VERSION = 64

KEY_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)
MOST_KEY_IDS = 32
"""Twice MOST_CAS of core/certificates/trust_bundle: CAs of hubs and of users."""


@attrs.frozen(kw_only=True)
class CreatedJoinToken:
    """A fresh token; its text is shown once and never stored."""

    text: Secret
    row: JoinTokenRow


@attrs.frozen(kw_only=True)
class JoinRequest:
    """What an agent says when it joins."""

    secret: str = attrs.field(repr=False)
    node_name: str
    labels: Mapping[str, str]
    version: str
    tls_public_key_pem: bytes
    ssh_public_key: str
    agent_time: int
    """The agent's clock, milliseconds since 1970."""


@attrs.frozen(kw_only=True)
class Enrolled:
    """An agent and what was issued to it."""

    agent: AgentRow
    certificates: AgentCertificates


class Enrollment:
    """Join tokens and agent identities."""

    def __init__(
        self,
        *,
        database: Database,
        authorities: CertificateAuthorities,
        audit: AuditLog,
        sources: Sources,
        hub_names: Collection[str] = (),
        refusals: RefusalLog | None = None,
    ) -> None:
        """`hub_names` are taken: hosts and hubs share a CA, and a node with the hub's name could pose as it (A13)."""
        self._guesses = SecretGuesses(
            "wrong join tokens", EventType.ACCESS_DENIED, refusals or RefusalLog(audit)
        )
        self._hub_names = frozenset(hub_names)
        self._database = database
        self._heartbeats = SharedWrites(database)
        self._authorities = authorities
        self._audit = audit
        self._sources = sources

    async def create_token(
        self,
        *,
        roles: tuple[str, ...],
        ttl_seconds: int,
        labels: Mapping[str, str],
        by: str,
        client_address: str = "",
    ) -> CreatedJoinToken:
        """Make a join token.

        :raises InvalidRequestError: a role other than node, a time to live outside (0, 7 d], bad labels.
        """
        if roles != ("node",):
            raise InvalidRequestError(
                f"a join token is for the role node, not for {', '.join(roles) or 'none'}"
            )
        if not 0 < ttl_seconds * 1000 <= MAX_TOKEN_TTL_MS:
            raise InvalidRequestError("the time to live of a join token is more than 0 and at most 168h")
        try:
            checked = check_labels(labels)
        except InvalidLabelsError as error:
            raise InvalidRequestError(str(error)) from None
        now = self._sources.now()
        text = format_join_token(self._sources.token_bytes(32), self._authorities.host_pin)
        row = JoinTokenRow(
            token_hash=token_hash(secret_part(text)),
            roles=roles,
            labels=checked,
            created_by=by,
            created_at=now,
            expires_at=now + ttl_seconds * 1000,
        )
        await self._database.write(join_tokens.insert, token=row)
        await self._audit.emit(
            EventType.TOKEN_CREATED,
            user_name=by,
            resource_type="token",
            resource_name=row.token_hash[:16],
            client_ip=client_address,
        )
        return CreatedJoinToken(text=Secret(text), row=row)

    async def list_tokens(self) -> list[JoinTokenRow]:
        """Return all tokens, newest first."""
        return await self._database.read(join_tokens.list_all)

    async def delete_token(self, identifier: str, *, by: str, client_address: str) -> None:
        """Delete the token whose hash begins with `identifier`.

        :raises NotFoundError: there is none.
        :raises InvalidRequestError: there are several, or an agent's labels hang on it.
        """
        found = [
            row for row in await self.list_tokens() if identifier and row.token_hash.startswith(identifier)
        ]
        if not found:
            raise NotFoundError(f"there is no join token {identifier}: `mezctl tokens ls` shows the ids")
        if len(found) > 1:
            raise InvalidRequestError(
                f"{len(found)} join tokens begin with {identifier}: give more of the id"
            )
        agent = await self._labelled_by(found[0])
        if agent is not None:
            raise InvalidRequestError(
                f"join token {identifier} fixes the labels of node {agent.node_name}: "
                f"remove that first with `mezctl nodes rm {agent.node_name}`"
            )
        await self._database.write(join_tokens.delete, token_hash=found[0].token_hash)
        await self._audit.emit(
            EventType.TOKEN_DELETED,
            user_name=by,
            resource_type="token",
            resource_name=found[0].token_hash[:16],
            client_ip=client_address,
        )

    async def _labelled_by(self, token: JoinTokenRow) -> AgentRow | None:
        """The agent whose labels this token fixes: without it the agent could say what it likes (threat E18)."""
        if token.used_by is None or not token.labels:
            return None
        row = await self._database.read(agents.get, agent_id=token.used_by)
        return None if row is None or row.removed_at is not None else row

    async def join(self, request: JoinRequest, *, client_address: str) -> Enrolled:
        """Register an agent with a join token, which is used up only when everything else is in order.

        :raises ClockSkewError: the agent's clock is off by more than five minutes.
        :raises InvalidRequestError: bad node name, labels or keys.
        :raises UnauthenticatedError: unknown, used or expired token.
        :raises TooManyRequestsError: this client has sent too many of those.
        :raises ConflictError: another agent has that node name.
        """
        now = self._sources.now()
        check_clock(request.agent_time, now)
        labels = _checked_node(request.node_name, request.labels)
        if request.node_name in self._hub_names:
            raise ConflictError(f"node name {request.node_name} is the hub's own: choose another name")
        self._guesses.count(client_address)
        hashed = token_hash(request.secret)
        # Strangers with made-up tokens get neither signatures nor the database's one writer.
        if await self._database.read(join_tokens.get, token_hash=hashed) is None:
            raise await self._token_refused(ConsumeFailure.UNKNOWN, request, client_address)
        agent_id = self._sources.new_id()
        # Issued first: a bad key must not cost the token. Nobody sees the certificates if the rest fails.
        certificates = self._issue(
            request.tls_public_key_pem, request.ssh_public_key, agent_id, request.node_name, 1
        )

        def store(conn: Connection) -> AgentRow | ConsumeFailure:
            token = join_tokens.consume(conn, token_hash=hashed, used_by=agent_id, now=now)
            if isinstance(token, ConsumeFailure):
                return token
            agent = NewAgent(
                agent_id=agent_id,
                node_name=request.node_name,
                labels={**labels, **token.labels},
                version=request.version[:MAX_VERSION],
            )
            return agents.register(conn, agent=agent, now=now)

        try:
            row = await self._database.write(store)
        except NameTakenError as taken:
            raise ConflictError(
                f"node name {request.node_name} belongs to agent {taken.owner} already: choose another name, or remove "
                f"that node with `mezctl nodes rm {request.node_name}`"
            ) from None
        if isinstance(row, ConsumeFailure):
            raise await self._token_refused(row, request, client_address)
        self._guesses.was_right(client_address)
        await self._record_join(row, hashed, client_address)
        return Enrolled(agent=row, certificates=certificates)

    async def _token_refused(
        self, failure: ConsumeFailure, request: JoinRequest, client_address: str
    ) -> UnauthenticatedError:
        why = {
            ConsumeFailure.UNKNOWN: "is not known here",
            ConsumeFailure.USED: "has been used already",
            ConsumeFailure.EXPIRED: "has expired",
        }[failure]
        event_id = await self._guesses.was_wrong(
            client_address,
            resource_type="token",
            resource_name=request.node_name,
            error_message=f"the join token {why}",
        )
        return UnauthenticatedError(
            f"the join token {why}: make a new one with `mezctl tokens create --roles=node`",
            event_id=event_id,
        )

    async def _record_join(self, row: AgentRow, hashed: str, client_address: str) -> None:
        await self._audit.emit(
            EventType.TOKEN_USED,
            resource_type="token",
            resource_name=hashed[:16],
            client_ip=client_address,
            agent_id=row.agent_id,
        )
        await self._audit.emit(
            EventType.NODE_JOINED,
            resource_type="node",
            resource_name=row.node_name,
            resource_labels=row.labels,
            server_hostname=row.node_name,
            client_ip=client_address,
            agent_id=row.agent_id,
        )

    async def renew(
        self,
        agent: AgentIdentity,
        *,
        tls_public_key_pem: bytes,
        ssh_public_key: str,
        agent_time: int,
        client_address: str,
    ) -> Enrolled:
        """Issue the next generation of an agent's certificates.

        :raises ClockSkewError: its clock is off by more than five minutes.
        :raises LockedError: the generation is not the current one, so there are two copies of this identity.
        :raises UnauthenticatedError: the agent was removed.
        """
        now = self._sources.now()
        check_clock(agent_time, now)
        outcome = await self._database.write(
            agents.renew_generation, agent_id=agent.agent_id, presented=agent.generation, now=now
        )
        if not isinstance(outcome, RenewedGeneration):
            raise await self._renewal_refused(agent, outcome, client_address)
        certificates = self._issue(
            tls_public_key_pem, ssh_public_key, agent.agent_id, agent.node_name, outcome.generation
        )
        row = await self._database.read(agents.get, agent_id=agent.agent_id)
        if row is None:
            raise UnauthenticatedError(f"agent {agent.agent_id} was removed: join again with a new token")
        return Enrolled(agent=row, certificates=certificates)

    async def _renewal_refused(
        self, agent: AgentIdentity, refusal: RenewalRefusal, client_address: str
    ) -> LockedError | UnauthenticatedError:
        if refusal in {RenewalRefusal.UNKNOWN, RenewalRefusal.REMOVED}:
            return UnauthenticatedError(f"agent {agent.agent_id} was removed: join again with a new token")
        event_id = await self.record_clone(agent, client_address)
        return LockedError(clone_message(agent.agent_id), event_id=event_id)

    async def heartbeat(
        self,
        agent: AgentIdentity,
        *,
        labels: Mapping[str, str],
        version: str,
        trusted_key_ids: Collection[str] = (),
    ) -> None:
        """Take over what an agent says about itself. Labels that its join token fixed stay as they are.

        `trusted_key_ids` are the keys that the agent has stored; rotations wait for that (threat F5).

        :raises InvalidRequestError: bad labels or key ids.
        :raises UnauthenticatedError: a newer certificate of this agent is in use: whoever shows an older one does not
            speak for it (threat B1). It is not locked: on two tunnels, words of the older may come in late.
        """
        checked = _checked_node(agent.node_name, labels)
        if len(trusted_key_ids) > MOST_KEY_IDS or not all(map(KEY_ID.fullmatch, trusted_key_ids)):
            raise InvalidRequestError(f"at most {MOST_KEY_IDS} key ids of 64 hexadecimal digits are trusted")
        now = self._sources.now()

        def store(conn: Connection) -> bool:
            row = agents.get(conn, agent_id=agent.agent_id)
            if row is None or not row.is_genuine(agent.generation):
                return False
            fixed = join_tokens.labels_of_agent(conn, agent_id=agent.agent_id)
            agents.update_details(
                conn, agent_id=agent.agent_id, labels={**checked, **fixed}, version=version[:MAX_VERSION]
            )
            if trusted_key_ids:
                trust.note_agent(conn, agent_id=agent.agent_id, key_ids=trusted_key_ids, now=now)
            return True

        if not await self._heartbeats.write(store):
            raise UnauthenticatedError(
                f"the certificate of agent {agent.agent_id} was replaced by a newer one: connect with that"
            )

    async def record_clone(self, agent: AgentIdentity, client_address: str) -> str:
        """Audit that a copied identity was found; return the event's id."""
        return await self._audit.emit(
            EventType.LOCK_CREATED,
            resource_type="agent",
            resource_name=agent.agent_id,
            server_hostname=agent.node_name,
            client_ip=client_address,
            reason=agents.CLONE_LOCK_REASON,
        )

    def _issue(
        self, tls_public_key_pem: bytes, ssh_public_key: str, agent_id: str, node_name: str, generation: int
    ) -> AgentCertificates:
        try:
            return self._authorities.issue_agent(
                tls_public_key_pem=tls_public_key_pem,
                ssh_public_key=ssh_public_key,
                agent_id=agent_id,
                node_name=node_name,
                generation=generation,
            )
        except InvalidKeyError as error:
            raise InvalidRequestError(str(error)) from None


def secret_part(text: str) -> str:
    """Return the secret inside the text of a join token."""
    return text.removeprefix("mzt_").partition(".")[0]


def clone_message(agent_id: str) -> str:
    """Say what a copied identity means and what to do."""
    return (
        f"agent {agent_id} is locked: its identity is in use in two places (copied, or restored from a backup); "
        "delete the data directory of every copy and join again with new tokens"
    )


def _checked_node(node_name: str, labels: Mapping[str, str]) -> dict[str, str]:
    try:
        check_node_name(node_name)
        return check_labels(labels)
    except (InvalidNameError, InvalidLabelsError) as error:
        raise InvalidRequestError(str(error)) from None
