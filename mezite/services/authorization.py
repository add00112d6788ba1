# SPDX-License-Identifier: Apache-2.0
"""`authorize()`: the one place where access is decided (threats E8, E12, E13).

It is a plain function of values: who asks, what verb, on what, in what context. It awaits nothing and changes
nothing, so it can be called at every door, asked again at any time, and explained.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from mezite.core.rbac.evaluator import NodeRequest, allowed_logins, evaluate
from mezite.core.rbac.roles import BUILT_IN_ROLES, Role, role_allows_verb
from mezite.services.identity import AgentIdentity, Identity, UserIdentity

__all__ = ["AccessContext", "Decision", "Resource", "authorize", "roles_by_name", "session_permissions"]

AGENT_VERBS = frozenset({"agent.renew", "agent.heartbeat", "agent.report"})
"""All that an agent may ask of a hub; what it reports is checked against the sessions the hub gave it (G5)."""

AGENTS_ONLY = "agent."
"""What no user may, administrators neither: it is said with an agent's certificate about that agent."""

OWN_VERBS = "self."
"""Verbs that every user has on their own account and on what they may see."""


@attrs.frozen(kw_only=True)
class Resource:
    """What is asked for."""

    kind: str
    """`node`, `user`, `cluster`, `token`, `audit`, `account` ..."""
    name: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class AccessContext:
    """The circumstances of one request."""

    client_address: str
    """`ip:port`, never empty (threat C3)."""
    decision_id: str
    """A fresh id; it ties audit events to this decision."""
    login: str | None = None
    """The account on the node, when it is known already."""


@attrs.frozen(kw_only=True)
class Decision:
    """The answer."""

    allowed: bool
    reason: str
    """For people: which rule, what was missing."""
    role: str = ""
    """The role that decided; empty when none did."""
    decision_id: str
    logins: tuple[str, ...] = ()
    """On `nodes.connect`: the accounts that are allowed, sorted."""


def roles_by_name(names: tuple[str, ...]) -> tuple[Role, ...]:
    """Return the roles of these names; a name without a role grants nothing."""
    return tuple(BUILT_IN_ROLES[name] for name in names if name in BUILT_IN_ROLES)


def authorize(identity: Identity, verb: str, resource: Resource, context: AccessContext) -> Decision:
    """Decide whether `identity` may do `verb` to `resource`. Deny is the default."""
    if isinstance(identity, AgentIdentity):
        return _agent_decision(verb, context)
    if verb == "nodes.connect":
        return _connect_decision(identity, resource, context)
    if verb.startswith(AGENTS_ONLY):
        return Decision(allowed=False, reason=f"only an agent may {verb}", decision_id=context.decision_id)
    if verb.startswith(OWN_VERBS):
        return Decision(allowed=True, reason="every user may", decision_id=context.decision_id)
    for role in roles_by_name(identity.roles):
        if role_allows_verb(role, verb):
            return Decision(
                allowed=True, reason=f"role {role.name}", role=role.name, decision_id=context.decision_id
            )
    return Decision(
        allowed=False, reason=f"none of your roles allows {verb}", decision_id=context.decision_id
    )


def _agent_decision(verb: str, context: AccessContext) -> Decision:
    allowed = verb in AGENT_VERBS
    reason = "an agent may" if allowed else f"an agent may not {verb}"
    return Decision(allowed=allowed, reason=reason, decision_id=context.decision_id)


def _connect_decision(identity: UserIdentity, resource: Resource, context: AccessContext) -> Decision:
    roles = roles_by_name(identity.roles)
    logins = allowed_logins(roles, identity.traits, resource.labels)
    if identity.logins is not None:
        logins &= frozenset(identity.logins)
    if context.login is None:
        allowed = bool(logins)
        reason = "a role allows a login here" if allowed else "no role of yours allows any login on this node"
        return Decision(
            allowed=allowed, reason=reason, decision_id=context.decision_id, logins=tuple(sorted(logins))
        )
    request = NodeRequest(labels=resource.labels, login=context.login, traits=identity.traits)
    verdict = evaluate(roles, request)
    allowed = verdict.allowed and context.login in logins
    reason = verdict.reason
    if verdict.allowed and not allowed:
        reason = f"your certificate does not list the login {context.login}"
    return Decision(
        allowed=allowed,
        reason=reason,
        role=verdict.role or "",
        decision_id=context.decision_id,
        logins=tuple(sorted(logins)),
    )


def session_permissions(identity: UserIdentity) -> tuple[str, ...]:
    """Return what sessions of this user may do on a node, sorted: the strictest over the user's roles."""
    options = [role.options for role in roles_by_name(identity.roles)]
    names = ("agent_forwarding", "file_copy", "port_forwarding")
    return tuple(name for name in names if options and all(getattr(option, name) for option in options))
