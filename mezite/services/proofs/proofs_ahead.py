# SPDX-License-Identifier: Apache-2.0
"""A second factor ahead of the connections: for one (`msh ssh --mfa-code`), or for declared nodes and a stated time.

So programs that open many connections and cannot be asked, such as Ansible, work where roles ask for a factor for each
session: the person shows it once, and says for what.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.names import InvalidNameError, check_node_name
from mezite.core.rbac.role_options import SessionMfa, strictest_mfa
from mezite.core.rbac.session_mfa import ProvenFor
from mezite.services.access.authorization import AccessContext, Decision, Resource, authorize
from mezite.services.access.lock_feed import LockFeed
from mezite.services.audit_log import AuditLog
from mezite.services.errors import InvalidRequestError, NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.proofs.pending_proof import MAX_TARGETS, PendingProof, ProofRequest
from mezite.services.proofs.session_proof import SessionProofs
from mezite.services.sources import Sources
from mezite.storage import agents
from mezite.storage.agents import AgentRow
from mezite.storage.database import Database

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ProofsAhead"]

LONGEST_WAIT_SECONDS = 30.0
"""Of one call; unary calls end after two minutes."""


@attrs.frozen(kw_only=True)
class ProofsAhead:
    """What users show before they connect."""

    database: Database
    proofs: SessionProofs
    audit: AuditLog
    sources: Sources
    locks: LockFeed

    async def begin(
        self,
        identity: UserIdentity,
        targets: Iterable[str],
        *,
        window_seconds: int,
        client_address: str,
    ) -> tuple[PendingProof, SessionMfa] | None:
        """Ask for the strictest factor that any of the targets needs; None: they need none.

        :raises NotFoundError: one is no node, or none on which this user may log in so; audited.
        :raises InvalidRequestError: by a credential that opens no connections, or for too much.
        :raises AccessDeniedError: the user has no factor that would do.
        """
        if not identity.serial:
            raise InvalidRequestError("a factor is shown ahead with the certificate of `msh login` only")
        named = tuple(dict.fromkeys(targets))
        if not 0 < len(named) <= MAX_TARGETS:
            raise InvalidRequestError(f"name between 1 and {MAX_TARGETS} nodes")
        nodes = await self.database.read(_nodes, {target.rpartition("@")[2] for target in named})
        needed = []
        for target in named:
            login, _, name = target.rpartition("@")
            decision = self._decide(identity, login, nodes.get(name), client_address)
            if not decision.allowed:
                raise await self._denied(identity, target, decision, client_address)
            needed.append(decision.needs_mfa)
        needs = strictest_mfa(needed)
        if needs is SessionMfa.NONE:
            return None
        request = ProofRequest(
            user_name=identity.name,
            needs=needs,
            kind=ProvenFor.NODE,
            targets=named,
            serial=identity.serial,
            window_seconds=window_seconds,
            client_address=client_address,
        )
        return await self.proofs.begin(request), needs

    async def wait(self, identity: UserIdentity, proof_id: str, seconds: float) -> str:
        """Wait until the user has decided in a browser: `pending`, `proven`, `refused` or `expired`."""
        row = None
        with trio.move_on_after(min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)) as limit:
            row = await self.proofs.wait_decided(proof_id)
        if limit.cancelled_caught:
            return "pending"
        if row is None or row.user_name != identity.name:
            return "expired"
        return "proven" if row.refused_at is None else "refused"

    def _decide(
        self, identity: UserIdentity, login: str, node: AgentRow | None, client_address: str
    ) -> Decision:
        decision_id = self.sources.new_id()
        if node is None:
            return Decision(allowed=False, reason="there is no such node", decision_id=decision_id)
        context = AccessContext(
            client_address=client_address,
            decision_id=decision_id,
            login=login or None,
            locks=self.locks.current,
            agent_id=node.agent_id,
            asks_proof=True,
        )
        resource = Resource(kind="node", name=node.node_name, labels=node.labels)
        return authorize(identity, "nodes.connect", resource, context)

    async def _denied(
        self, identity: UserIdentity, target: str, decision: Decision, client_address: str
    ) -> NotFoundError:
        login, _, name = target[:512].rpartition("@")
        event_id = await self.audit.emit(
            EventType.ACCESS_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type="node",
            resource_name=name[:253],
            client_ip=client_address,
            success=False,
            error_message=decision.reason,
            decision_id=decision.decision_id,
            login=login[:253],
        )
        return NotFoundError(
            f"{target[:512]}: not found, or you may not log in there so; `msh ls` shows your nodes "
            f"(event {event_id})",
            event_id=event_id,
        )


def _nodes(conn: Connection, names: set[str]) -> dict[str, AgentRow]:
    found = {}
    for name in names:
        try:
            check_node_name(name)
        except InvalidNameError:
            continue
        row = agents.get_by_name(conn, node_name=name)
        if row is not None:
            found[name] = row
    return found
