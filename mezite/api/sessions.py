# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.SessionService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import sessions_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.nodes.session_control import NodeSessionControl
from mezite.services.users.login_sessions import LoginSession, LoginSessions
from mezite.storage.node_sessions import NodeSessionRow

__all__ = ["SessionsApi"]

_SERVICE = "/mezite.v1.SessionService/"


class SessionsApi:
    """The RPCs of one service."""

    def __init__(self, sessions: NodeSessionControl, logins: LoginSessions) -> None:
        self._sessions = sessions
        self._logins = logins

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        listing = unary(_SERVICE + "ListSessions", pb.ListSessionsRequest, pb.ListSessionsResponse)
        get = unary(_SERVICE + "GetSession", pb.GetSessionRequest, pb.Session)
        kill = unary(_SERVICE + "KillSession", pb.KillSessionRequest, pb.Session)
        logins = unary(
            _SERVICE + "ListLoginSessions", pb.ListLoginSessionsRequest, pb.ListLoginSessionsResponse
        )
        revoke = unary(_SERVICE + "RevokeSession", pb.RevokeSessionRequest, pb.LoginSession)
        return [
            listing(self.list_sessions, "sessions.list", "session"),
            get(self.get, "sessions.get", "session"),
            kill(self.kill, "sessions.kill", "session"),
            logins(self.list_logins, "sessions.list", "session"),
            revoke(self.revoke, "sessions.revoke", "session"),
        ]

    async def list_sessions(
        self, _request: pb.ListSessionsRequest, _context: CallContext
    ) -> pb.ListSessionsResponse:
        """Live sessions on all hubs, newest first."""
        rows = await self._sessions.list_live()
        return pb.ListSessionsResponse(sessions=[_message(row) for row in rows])

    async def get(self, request: pb.GetSessionRequest, _context: CallContext) -> pb.Session:
        """One session."""
        return _message(await self._sessions.get(request.id))

    async def kill(self, request: pb.KillSessionRequest, context: CallContext) -> pb.Session:
        """End a session, wherever it is."""
        row = await self._sessions.kill(
            request.id,
            reason=request.reason,
            by=user_of(context),
            client_address=context.peer.client_address,
        )
        return _message(row)

    async def list_logins(
        self, request: pb.ListLoginSessionsRequest, _context: CallContext
    ) -> pb.ListLoginSessionsResponse:
        """Sessions of browsers and programs, newest first."""
        found = await self._logins.listed(request.user_name)
        return pb.ListLoginSessionsResponse(sessions=[_login(session) for session in found])

    async def revoke(self, request: pb.RevokeSessionRequest, context: CallContext) -> pb.LoginSession:
        """End one of those."""
        address = context.peer.client_address
        return _login(await self._logins.revoke(request.id, by=user_of(context), client_address=address))


def _login(session: LoginSession) -> pb.LoginSession:
    return pb.LoginSession(
        id=session.id,
        kind=session.kind,
        user_name=session.user_name,
        host=session.host,
        client_ip=session.client_address,
        created_at_ms=session.created_at,
        expires_at_ms=session.expires_at,
    )


def _message(row: NodeSessionRow) -> pb.Session:
    return pb.Session(
        id=row.session_id,
        user_name=row.user_name,
        login=row.login,
        node_name=row.node_name,
        kind=row.kind.value,
        client_ip=row.client_ip,
        hub_id=row.hub_id,
        connection_id=row.connection_id,
        started_at_ms=row.started_at,
        ended_at_ms=row.ended_at or 0,
        killed_by=row.kill_by or "",
        kill_reason=row.kill_reason or "",
    )
