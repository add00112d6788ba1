# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.LoginProofService` for agents and `mezite.v1.SessionProofService` for users."""

from __future__ import annotations

import attrs

from mezite.api.pb.mezite.v1 import session_proofs_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import agent_of, unary, user_of
from mezite.core.rbac.role_options import SessionMfa
from mezite.services.nodes.login_proofs import LoginProofs, WaitingLogin
from mezite.services.proofs.pending_proof import PendingProof
from mezite.services.proofs.proofs_ahead import ProofsAhead

__all__ = ["SessionProofsApi"]

_LOGIN = "/mezite.v1.LoginProofService/"
_SESSION = "/mezite.v1.SessionProofService/"


@attrs.frozen(kw_only=True)
class SessionProofsApi:
    """The RPCs of both services."""

    logins: LoginProofs
    ahead: ProofsAhead

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        begin_login = unary(_LOGIN + "BeginLoginProof", pb.BeginLoginProofRequest, pb.PendingProof)
        answer_login = unary(_LOGIN + "AnswerLoginProof", pb.AnswerLoginProofRequest, pb.ProofState)
        await_login = unary(_LOGIN + "AwaitLoginProof", pb.AwaitLoginProofRequest, pb.ProofState)
        begin = unary(_SESSION + "BeginSessionProof", pb.BeginSessionProofRequest, pb.PendingProof)
        answer = unary(_SESSION + "AnswerSessionProof", pb.AnswerSessionProofRequest, pb.ProofState)
        wait = unary(_SESSION + "AwaitSessionProof", pb.AwaitSessionProofRequest, pb.ProofState)
        return [
            begin_login(self.begin_login, "agent.prove", "session"),
            answer_login(self.answer_login, "agent.prove", "session"),
            await_login(self.await_login, "agent.prove", "session"),
            begin(self.begin, "self.sessions.prove", "account"),
            answer(self.answer, "self.sessions.prove", "account"),
            wait(self.wait, "self.sessions.prove", "account"),
        ]

    async def begin_login(self, request: pb.BeginLoginProofRequest, context: CallContext) -> pb.PendingProof:
        """A login waits at this agent."""
        return _pending(await self.logins.begin(agent_of(context), _waiting(request)))

    async def answer_login(self, request: pb.AnswerLoginProofRequest, context: CallContext) -> pb.ProofState:
        """Its user has typed a code."""
        proven = await self.logins.answer(
            agent_of(context), _waiting(request.login), request.id, request.totp
        )
        return pb.ProofState(state="proven" if proven else "expired")

    async def await_login(self, request: pb.AwaitLoginProofRequest, context: CallContext) -> pb.ProofState:
        """Its user is at a browser."""
        state = await self.logins.wait(
            agent_of(context), _waiting(request.login), request.id, request.wait_ms / 1000
        )
        return pb.ProofState(state=state)

    async def begin(self, request: pb.BeginSessionProofRequest, context: CallContext) -> pb.PendingProof:
        """The caller is going to connect."""
        begun = await self.ahead.begin(
            user_of(context),
            request.targets,
            window_seconds=request.window_seconds,
            client_address=context.peer.client_address,
        )
        answer = _pending(begun)
        answer.targets.extend(request.targets)
        return answer

    async def answer(self, request: pb.AnswerSessionProofRequest, context: CallContext) -> pb.ProofState:
        """The caller has typed a code."""
        await self.ahead.proofs.show_code(
            user_of(context).name, request.id, request.totp, client_address=context.peer.client_address
        )
        return pb.ProofState(state="proven")

    async def wait(self, request: pb.AwaitSessionProofRequest, context: CallContext) -> pb.ProofState:
        """The caller is at a browser as well."""
        state = await self.ahead.wait(user_of(context), request.id, request.wait_ms / 1000)
        return pb.ProofState(state=state)


def _waiting(request: pb.BeginLoginProofRequest) -> WaitingLogin:
    return WaitingLogin(
        connection_id=request.connection_id,
        login=request.login,
        certificate_serial=request.certificate_serial,
        ssh_session_id=request.ssh_session_id,
    )


def _pending(begun: tuple[PendingProof, SessionMfa] | None) -> pb.PendingProof:
    if begun is None:
        return pb.PendingProof(needed=False)
    pending, needs = begun
    return pb.PendingProof(
        needed=True,
        id=pending.id.reveal(),
        url=pending.url,
        code=pending.code,
        factors=pending.factors,
        expires_at_ms=pending.expires_at,
        needs=needs.value,
    )
