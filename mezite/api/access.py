# SPDX-License-Identifier: Apache-2.0
"""Who calls an RPC, and whether they may: the gRPC side of the one `authorize()`."""

from __future__ import annotations

import attrs

from mezite.api.failures import audit_unavailable, rpc_error
from mezite.api.rpc import CallContext, RpcError, RpcMethod, StatusCode
from mezite.core.audit.event_types import EventType
from mezite.services.access.authorization import Resource, authorize
from mezite.services.access.verb_registry import Door, DoorKind, VerbRegistry
from mezite.services.audit_log import AuditLog, AuditUnavailableError
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.authentication.source_limit import SourceLimit, anonymous_calls
from mezite.services.errors import RefusedError
from mezite.services.identity.identities import AgentIdentity, Identity
from mezite.services.sources import Sources

__all__ = ["ApiAccess", "register_methods"]


def register_methods(registry: VerbRegistry, methods: list[RpcMethod]) -> None:
    """Declare RPCs in the registry of all doors."""
    for method in methods:
        registry.register(
            Door(
                kind=DoorKind.RPC,
                name=method.path,
                verb=method.verb,
                resource=method.resource,
                public=method.public,
            )
        )


@attrs.frozen(kw_only=True)
class ApiAccess:
    """The questions that a `GrpcServer` asks before it reads a request."""

    authenticator: Authenticator
    audit: AuditLog
    sources: Sources
    refusals: CredentialRefusals
    strangers: SourceLimit = attrs.field(factory=anonymous_calls)

    def admit_stranger(self, context: CallContext) -> None:
        """Count a call that needs no credential.

        :raises RpcError: RESOURCE_EXHAUSTED, too many from that address.
        """
        try:
            self.strangers.take(context.peer.client_address)
        except RefusedError as refused:
            raise rpc_error(refused) from None

    async def authenticate(self, context: CallContext) -> Identity | None:
        """Return who calls: by bearer session if there is one, else by tunnel or client certificate; None for nobody.

        :raises RpcError: a credential was shown and is not good.
        """
        try:
            async with self.refusals.recorded(context.peer.client_address, "grpc"):
                if context.bearer_token is not None:
                    return await self.authenticator.by_session(context.bearer_token)
                if context.peer.agent is not None:
                    return await self.authenticator.still(context.peer.agent)
                if context.peer.certificate_der is not None:
                    return await self.authenticator.by_tls_certificate(
                        context.peer.certificate_der, context.peer.client_address
                    )
        except RefusedError as refused:
            raise rpc_error(refused) from None
        return None

    async def authorize(self, identity: Identity, method: RpcMethod, context: CallContext) -> None:
        """Let the call through, or audit the refusal.

        :raises RpcError: PERMISSION_DENIED with the reason and the id of the audit event.
        """
        decision = authorize(
            identity,
            method.verb,
            Resource(kind=method.resource),
            self.authenticator.context(context.peer.client_address),
        )
        if decision.allowed:
            return
        name = identity.agent_id if isinstance(identity, AgentIdentity) else identity.name
        roles = () if isinstance(identity, AgentIdentity) else identity.roles
        try:
            event_id = await self.audit.emit(
                EventType.AUTHZ_DENIED,
                user_name=name,
                user_roles=roles,
                resource_type=method.resource,
                client_ip=context.peer.client_address,
                success=False,
                error_message=decision.reason,
                decision_id=decision.decision_id,
                verb=method.verb,
            )
        except AuditUnavailableError:
            raise audit_unavailable() from None
        raise RpcError(
            StatusCode.PERMISSION_DENIED,
            f"{method.verb} is not allowed: {decision.reason}; ask an administrator (event {event_id})",
        )
