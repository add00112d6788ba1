# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AccessService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary
from mezite.services.access.explain import AccessExplainer

__all__ = ["AccessExplainApi"]


class AccessExplainApi:
    """The RPCs of one service."""

    def __init__(self, explainer: AccessExplainer) -> None:
        self._explainer = explainer

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        path = "/mezite.v1.AccessService/ExplainAccess"
        explain = unary(path, pb.ExplainAccessRequest, pb.ExplainAccessResponse)
        return [explain(self.explain, "access.explain", "access")]

    async def explain(
        self, request: pb.ExplainAccessRequest, _context: CallContext
    ) -> pb.ExplainAccessResponse:
        """Why somebody may, or may not, log in somewhere or use an application."""
        if request.app:
            answer = await self._explainer.explain_app(request.user, request.app)
        else:
            answer = await self._explainer.explain(request.user, request.node, request.login)
        return pb.ExplainAccessResponse(
            allowed=answer.allowed,
            reason=answer.reason,
            role=answer.role,
            rule=answer.rule,
            labels=answer.labels,
            logins={entry: pb.LoginValues(logins=logins) for entry, logins in answer.logins.items()},
            would_flip=answer.would_flip,
            decision_id=answer.decision_id,
        )
