# SPDX-License-Identifier: Apache-2.0
"""Logging in with a security key over gRPC: the part of `mezite.v1.AuthService` for programs that drive one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs

from mezite.api.pb.mezite.v1 import auth_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary
from mezite.services.errors import InvalidRequestError, UnauthenticatedError
from mezite.services.factors.key_login import KeyLogin
from mezite.services.login.password_login import LoginRefusedError

__all__ = ["KeyLoginApi"]

_SERVICE = "/mezite.v1.AuthService/"


@attrs.frozen(kw_only=True)
class KeyLoginApi:
    """Two RPCs; each carries its own credential."""

    key_login: KeyLogin

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        begin = unary(
            _SERVICE + "BeginWebAuthnLogin", pb.BeginWebAuthnLoginRequest, pb.BeginWebAuthnLoginResponse
        )
        finish = unary(
            _SERVICE + "FinishWebAuthnLogin", pb.FinishWebAuthnLoginRequest, pb.AuthenticateLocalResponse
        )
        return [
            begin(self.begin, "account.login", "account", public=True),
            finish(self.finish, "account.login", "account", public=True),
        ]

    async def begin(
        self, request: pb.BeginWebAuthnLoginRequest, context: CallContext
    ) -> pb.BeginWebAuthnLoginResponse:
        """Password in, challenge out."""
        try:
            asked = await self.key_login.begin(
                request.username, request.password, client_address=context.peer.client_address
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return pb.BeginWebAuthnLoginResponse(
            challenge_id=asked.id.reveal(), options_json=json.dumps(asked.options)
        )

    async def finish(
        self, request: pb.FinishWebAuthnLoginRequest, context: CallContext
    ) -> pb.AuthenticateLocalResponse:
        """The key's answer in, session out."""
        credential = _credential(request.credential_json)
        try:
            started = await self.key_login.finish(
                request.challenge_id, credential, client_address=context.peer.client_address
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return pb.AuthenticateLocalResponse(
            session_token=started.token.reveal(),
            user_name=started.user.name,
            roles=started.user.roles,
            expires_at_ms=started.expires_at,
        )


def _credential(text: str) -> Mapping[str, Any]:
    """Return the JSON object. :raises InvalidRequestError: it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidRequestError("credential_json is not a JSON object")
    return value
