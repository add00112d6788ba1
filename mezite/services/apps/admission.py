# SPDX-License-Identifier: Apache-2.0
"""Whether a user may use an application: asked of `authorize()`, and a refusal is an audit event with a reason."""

from __future__ import annotations

import attrs

from mezite.core.apps.app import App
from mezite.core.audit.event_types import EventType
from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor, SessionProof
from mezite.services.access.authorization import AccessContext, Decision, authorize
from mezite.services.apps.catalog import app_resource
from mezite.services.audit_log import AuditLog
from mezite.services.errors import AccessDeniedError
from mezite.services.identity.identities import UserIdentity
from mezite.storage.app_sessions import AppSessionRow

__all__ = ["VERB", "AppAdmission", "proof_of_session"]

VERB = "apps.connect"


def proof_of_session(session: AppSessionRow, app: App) -> SessionProof | None:
    """Return what was shown before this session began, for the whole of it; None for nothing."""
    if not session.factor:
        return None
    return SessionProof(
        user_name=session.user_name,
        factor=ProvenFactor(session.factor),
        at=session.created_at,
        kind=ProvenFor.APP,
        targets=frozenset({app.name}),
    )


@attrs.frozen(kw_only=True)
class AppAdmission:
    """Decides, and records refusals."""

    audit: AuditLog

    async def require(self, identity: UserIdentity, app: App, context: AccessContext) -> Decision:
        """Return the decision that allows it. :raises AccessDeniedError: it is not allowed; audited."""
        decision = authorize(identity, VERB, app_resource(app), context)
        if decision.allowed:
            return decision
        raise await self.refusal(identity, app, context, decision.reason)

    async def refusal(
        self, identity: UserIdentity, app: App, context: AccessContext, reason: str
    ) -> AccessDeniedError:
        """Record that somebody was refused, and return what to tell them."""
        event_id = await self.audit.emit(
            EventType.ACCESS_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type="app",
            resource_name=app.name,
            resource_labels=app.labels,
            client_ip=context.client_address,
            success=False,
            error_message=reason,
            decision_id=context.decision_id,
        )
        return AccessDeniedError(
            f"application {app.name} is not open to you: {reason} (event {event_id})", event_id=event_id
        )
