# SPDX-License-Identifier: Apache-2.0
"""A second factor for an SSH login that waits at its agent: the certificate is good, and roles ask for more (E8).

The agent knows the account and the SSH session; the hub knows the user and what the roles ask for. What is shown is
bound to the connection that this hub gave to the agent and to the exchange hash of the SSH session inside it, so it is
good for that one alone, and nothing that is shown elsewhere is good for it.
"""

from __future__ import annotations

import attrs
import trio

from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFor, SessionProof
from mezite.services.access.authorization import authorize
from mezite.services.access.live_access import LiveAccess
from mezite.services.errors import AccessDeniedError, InvalidRequestError
from mezite.services.identity.identities import AgentIdentity, UserIdentity
from mezite.services.nodes.live_connections import MAX_LOGIN, MAX_SERIAL, LiveConnection, LiveConnections
from mezite.services.proofs.pending_proof import PendingProof, ProofRequest
from mezite.services.proofs.session_proof import SessionProofs

__all__ = ["LoginProofs", "WaitingLogin"]

MAX_SSH_SESSION = 128
"""Hex digits of the longest exchange hash, SHA-512."""

LONGEST_WAIT_SECONDS = 30.0
"""Of one call; unary calls end after two minutes."""


@attrs.frozen(kw_only=True)
class WaitingLogin:
    """What the agent says of it."""

    connection_id: str
    login: str
    certificate_serial: str
    ssh_session_id: str
    """Hex."""


@attrs.frozen(kw_only=True)
class LoginProofs:
    """The logins that wait at agents of this hub."""

    connections: LiveConnections
    proofs: SessionProofs
    live: LiveAccess

    async def begin(
        self, agent: AgentIdentity, waiting: WaitingLogin
    ) -> tuple[PendingProof, SessionMfa] | None:
        """Ask the user for a factor; None: for this login none is needed, or it was shown.

        :raises NotFoundError: this hub gave no such connection to this agent.
        :raises AccessDeniedError: the user may not log in so at all, or has no factor that would do. The agent
            reports that it has let nobody in, which is audited.
        """
        connection = self._connection(agent, waiting)
        entry = connection.entry
        if not isinstance(entry.identity, UserIdentity):
            raise AssertionError("only users connect to nodes")
        context = attrs.evolve(entry.context, login=waiting.login, serial=waiting.certificate_serial)
        decision = authorize(entry.identity, entry.verb, entry.resource, context)
        if decision.needs_mfa is SessionMfa.NONE and decision.allowed:
            return None
        if not decision.allowed:
            raise AccessDeniedError(decision.reason)
        pending = await self.proofs.begin(_request(connection, waiting, decision.needs_mfa))
        return pending, decision.needs_mfa

    async def answer(self, agent: AgentIdentity, waiting: WaitingLogin, proof_id: str, totp: str) -> bool:
        """Take a code; whether the login may go on.

        :raises UnauthenticatedError: it is wrong. :raises NotFoundError: there is no such proof that waits.
        """
        connection = self._connection(agent, waiting)
        await self.proofs.show_code(
            connection.user_name,
            proof_id,
            totp,
            client_address=connection.client_address,
            bound_to=_binding(waiting),
        )
        return await self._take(connection, waiting, proof_id)

    async def wait(self, agent: AgentIdentity, waiting: WaitingLogin, proof_id: str, seconds: float) -> str:
        """Wait until the user has decided in a browser: `pending`, `proven`, `refused` or `expired`."""
        connection = self._connection(agent, waiting)
        row = None
        with trio.move_on_after(min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)) as limit:
            row = await self.proofs.wait_decided(proof_id)
        if limit.cancelled_caught:
            return "pending"
        if row is not None and row.refused_at is not None and row.bound_to == _binding(waiting):
            return "refused"
        return "proven" if await self._take(connection, waiting, proof_id) else "expired"

    def _connection(self, agent: AgentIdentity, waiting: WaitingLogin) -> LiveConnection:
        hash_ok = 32 <= len(waiting.ssh_session_id) <= MAX_SSH_SESSION
        if not hash_ok or not set(waiting.ssh_session_id) <= set("0123456789abcdef"):
            raise InvalidRequestError("the SSH session id is not the hex of an exchange hash")
        if not 0 < len(waiting.login) <= MAX_LOGIN or not 0 < len(waiting.certificate_serial) <= MAX_SERIAL:
            raise InvalidRequestError("the login or the certificate's serial is missing or too long")
        return self.connections.of_agent(agent, waiting.connection_id)

    async def _take(self, connection: LiveConnection, waiting: WaitingLogin, proof_id: str) -> bool:
        """Use the proof up for this connection: from now on `authorize()` sees it there."""
        proof: SessionProof | None = await self.proofs.take(proof_id, _binding(waiting))
        if proof is None:
            return False
        entry = connection.entry
        entry.context = attrs.evolve(
            entry.context, login=waiting.login, serial=waiting.certificate_serial, proof=proof
        )
        return self.live.ask(entry)


def _binding(waiting: WaitingLogin) -> str:
    return f"{waiting.connection_id}:{waiting.ssh_session_id}"


def _request(connection: LiveConnection, waiting: WaitingLogin, needs: SessionMfa) -> ProofRequest:
    return ProofRequest(
        user_name=connection.user_name,
        needs=needs,
        kind=ProvenFor.NODE,
        targets=(f"{waiting.login}@{connection.node_name}",),
        serial=waiting.certificate_serial,
        bound_to=_binding(waiting),
        client_address=connection.client_address,
    )
