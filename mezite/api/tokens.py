# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.TokenService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import tokens_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.nodes.enrollment import Enrollment
from mezite.storage.join_tokens import JoinTokenRow

__all__ = ["TokensApi"]

_SERVICE = "/mezite.v1.TokenService/"

ID_LENGTH = 16
"""64 bits of the hash: enough to name a token among thousands, of no use to whoever reads it over a shoulder."""


class TokensApi:
    """The RPCs of one service."""

    def __init__(self, enrollment: Enrollment) -> None:
        self._enrollment = enrollment

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        create = unary(_SERVICE + "CreateJoinToken", pb.CreateJoinTokenRequest, pb.CreateJoinTokenResponse)
        listing = unary(_SERVICE + "ListJoinTokens", pb.ListJoinTokensRequest, pb.ListJoinTokensResponse)
        delete = unary(_SERVICE + "DeleteJoinToken", pb.DeleteJoinTokenRequest, pb.DeleteJoinTokenResponse)
        return [
            create(self.create, "tokens.create", "token"),
            listing(self.list_tokens, "tokens.list", "token"),
            delete(self.delete, "tokens.delete", "token"),
        ]

    async def create(
        self, request: pb.CreateJoinTokenRequest, context: CallContext
    ) -> pb.CreateJoinTokenResponse:
        """A fresh token, shown this once."""
        created = await self._enrollment.create_token(
            roles=tuple(request.roles),
            ttl_seconds=request.ttl_seconds,
            labels=dict(request.labels),
            by=user_of(context).name,
            client_address=context.peer.client_address,
        )
        return pb.CreateJoinTokenResponse(token=created.text.reveal(), record=_message(created.row))

    async def list_tokens(
        self, _request: pb.ListJoinTokensRequest, _context: CallContext
    ) -> pb.ListJoinTokensResponse:
        """All tokens, newest first."""
        rows = await self._enrollment.list_tokens()
        return pb.ListJoinTokensResponse(tokens=[_message(row) for row in rows])

    async def delete(
        self, request: pb.DeleteJoinTokenRequest, context: CallContext
    ) -> pb.DeleteJoinTokenResponse:
        """Forget a token by the beginning of its id."""
        await self._enrollment.delete_token(
            request.id, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.DeleteJoinTokenResponse()


def _message(row: JoinTokenRow) -> pb.JoinToken:
    return pb.JoinToken(
        id=row.token_hash[:ID_LENGTH],
        roles=row.roles,
        labels=dict(row.labels),
        created_by=row.created_by,
        created_at_ms=row.created_at,
        expires_at_ms=row.expires_at,
        used_at_ms=row.used_at or 0,
        used_by=row.used_by or "",
    )
