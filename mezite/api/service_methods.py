# SPDX-License-Identifier: Apache-2.0
"""How services become RPCs: one wrapper that turns refusals into statuses, and who is calling."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from mezite.api.failures import audit_unavailable, rpc_error
from mezite.api.request_text import check_text
from mezite.api.rpc import CallContext, CallKind, RpcError, RpcMethod
from mezite.core.grpc.status import StatusCode
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.errors import RefusedError
from mezite.services.identity.identities import AgentIdentity, UserIdentity

__all__ = ["agent_of", "unary", "user_of"]

_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
_Handled_co = TypeVar("_Handled_co", bound=Message, covariant=True)
_Answered_contra = TypeVar("_Answered_contra", bound=Message, contravariant=True)


class _Registration(Protocol[_Handled_co, _Answered_contra]):
    def __call__(
        self,
        handler: Callable[[_Handled_co, CallContext], Awaitable[_Answered_contra]],
        verb: str,
        resource: str,
        *,
        public: bool = False,
    ) -> RpcMethod: ...


def unary(
    path: str, request_type: type[_Request], response_type: type[_Response]
) -> _Registration[_Request, _Response]:
    """Return a function that makes a unary RPC of a handler, its verb and its kind of resource.

    What the handler raises as a `RefusedError` reaches the caller as the matching status with its text.
    """

    def register(
        handler: Callable[[_Request, CallContext], Awaitable[_Response]],
        verb: str,
        resource: str,
        *,
        public: bool = False,
    ) -> RpcMethod:
        async def translated(request: _Request, context: CallContext) -> _Response:
            try:
                check_text(request)
                return await handler(request, context)
            except RefusedError as refused:
                raise rpc_error(refused) from None
            except AuditUnavailableError:
                raise audit_unavailable() from None

        return RpcMethod(
            path=path,
            request_type=request_type,
            response_type=response_type,
            kind=CallKind.UNARY,
            handler=translated,
            verb=verb,
            resource=resource,
            public=public,
        )

    return register


def user_of(context: CallContext) -> UserIdentity:
    """Return the user who is calling. :raises RpcError: it is not a user."""
    if not isinstance(context.identity, UserIdentity):
        raise RpcError(StatusCode.PERMISSION_DENIED, "this call is for users, not for agents")
    return context.identity


def agent_of(context: CallContext) -> AgentIdentity:
    """Return the agent that is calling. :raises RpcError: it is not an agent."""
    if not isinstance(context.identity, AgentIdentity):
        raise RpcError(StatusCode.PERMISSION_DENIED, "this call is for agents, not for users")
    return context.identity
