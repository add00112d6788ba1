# SPDX-License-Identifier: Apache-2.0
"""`authorize()`: the one place where access is decided (threats E8, E12, E13).

It is a plain function of values: who asks, what verb, on what, in what context. It awaits nothing and changes
nothing, so it can be called at every door, asked again at any time, and explained.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs

from mezite.core.rbac.evaluator import Grants, NodeRequest, evaluate
from mezite.core.rbac.locks import NO_LOCKS, Lock, LockSet, LockTarget, Subject
from mezite.core.rbac.request_rules import may_request_role, may_review_role, roles_naming
from mezite.core.rbac.role_options import (
    RecordSession,
    RoleOptions,
    SessionMfa,
    strictest,
    strictest_mfa,
)
from mezite.core.rbac.roles import role_allows_verb
from mezite.core.rbac.session_mfa import SessionProof
from mezite.services.access.missing_proof import ask_for, lacking_by_login, lacking_mfa
from mezite.services.identity.address_pins import is_pinned_here
from mezite.services.identity.identities import AgentIdentity, Identity, UserIdentity

__all__ = [
    "AccessContext",
    "Decision",
    "Resource",
    "authorize",
    "find_lock",
    "holder_subjects",
    "session_permissions",
    "tcp_objection",
    "unenforced",
    "user_subjects",
]

AGENT_VERBS = frozenset({"agent.renew", "agent.heartbeat", "agent.report", "agent.prove"})
"""All that an agent may ask of a hub; what it reports is checked against the sessions the hub gave it (G5)."""

AGENTS_ONLY = "agent."
"""What no user may, administrators neither: it is said with an agent's certificate about that agent."""

_NO_DEVICE = (
    "your roles ask for a trusted device, which no browser can show: ask an administrator for a role without "
    "require_trusted_device on this application"
)

_NO_LOGIN = "no role of yours allows any login on this node"

OWN_VERBS = "self."
"""Verbs that every user has on their own account and on what they may see."""


@attrs.frozen(kw_only=True)
class Resource:
    """What is asked for."""

    kind: str
    """`node`, `user`, `cluster`, `token`, `audit`, `account` ..."""
    name: str = ""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    owner: str = ""
    """On `requests.review`: the user who asks for access."""


@attrs.frozen(kw_only=True)
class AccessContext:
    """The circumstances of one request."""

    client_address: str
    """`ip:port`, never empty (threat C3)."""
    decision_id: str
    """A fresh id; it ties audit events to this decision."""
    login: str | None = None
    """The account on the node, when it is known already."""
    locks: LockSet = NO_LOCKS
    """The locks in force; `LockFeed.current` at every door."""
    agent_id: str = ""
    """On `nodes.connect`: the agent that the connection would go through."""
    serial: str = ""
    """On `nodes.connect`: the SSH certificate that the agent was shown, when that is known already."""
    over_tcp: bool = False
    """On `apps.connect`: bytes of a protocol in which nobody can be asked for anything."""
    proof: SessionProof | None = None
    """What the user has shown for this very session, checked and used up; None: nothing."""
    asks_proof: bool = False
    """The door lets nothing through before it has asked for the proof and asked `authorize()` again with it: that it is
    missing is no refusal here, but `Decision.needs_mfa`."""


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
    permissions: tuple[str, ...] = ()
    """On `nodes.connect`: what a session may do, sorted: the strictest over the roles that grant it."""
    lock_id: str = ""
    """The lock that denies it; empty when none does."""
    idle_timeout: int = 0
    """Seconds without a byte of any session after which the connection ends; 0: never."""
    max_connections: int = 0
    """On `nodes.connect`: how many connections the user may have; 0: no limit."""
    needs_mfa: SessionMfa = SessionMfa.NONE
    """The factor that the session needs and that the context does not prove; the strictest over the logins."""
    unproven: tuple[str, ...] = ()
    """On `nodes.connect`: those of `logins` that need it, sorted."""
    max_session_ttl: int = 0
    """On `apps.connect`: seconds after which a session at the application ends, however it is used."""


def authorize(identity: Identity, verb: str, resource: Resource, context: AccessContext) -> Decision:
    """Decide whether `identity` may do `verb` to `resource`. Deny is the default, and a lock comes before all."""
    lock = find_lock(identity, resource, context) if context.locks else None
    if lock is not None:
        return _locked(lock, context)
    if isinstance(identity, AgentIdentity):
        return _agent_decision(verb, context)
    decide = _DECISIONS.get(verb)
    if decide is not None:
        return decide(identity, resource, context)
    if verb.startswith(AGENTS_ONLY):
        return Decision(allowed=False, reason=f"only an agent may {verb}", decision_id=context.decision_id)
    if verb.startswith(OWN_VERBS):
        return Decision(allowed=True, reason="every user may", decision_id=context.decision_id)
    for role in identity.definitions:
        if role_allows_verb(role, verb):
            return Decision(
                allowed=True, reason=f"role {role.name}", role=role.name, decision_id=context.decision_id
            )
    return Decision(
        allowed=False, reason=f"none of your roles allows {verb}", decision_id=context.decision_id
    )


def find_lock(identity: Identity, resource: Resource, context: AccessContext) -> Lock | None:
    """Return the lock in force on whatever this request is about, or None."""
    return context.locks.find([*holder_subjects(identity), *_target_subjects(resource, context)])


def _locked(lock: Lock, context: AccessContext) -> Decision:
    return Decision(allowed=False, reason=lock.reason, decision_id=context.decision_id, lock_id=lock.id)


def holder_subjects(identity: Identity) -> list[Subject]:
    """Return what may have a lock of a credential and its holder: checked wherever a credential is."""
    if isinstance(identity, AgentIdentity):
        return [(LockTarget.AGENT, identity.agent_id), (LockTarget.SERIAL, identity.serial)]
    return [(LockTarget.SERIAL, identity.serial), *user_subjects(identity.name, identity.roles)]


def user_subjects(name: str, roles: Iterable[str]) -> list[Subject]:
    """Return what may have a lock of a user, whatever the credential."""
    return [(LockTarget.USER, name), *((LockTarget.ROLE, role) for role in roles)]


def _target_subjects(resource: Resource, context: AccessContext) -> list[Subject]:
    subjects = []
    if resource.kind == "node" and resource.name:
        subjects.append((LockTarget.NODE, resource.name))
    if context.agent_id:
        subjects.append((LockTarget.AGENT, context.agent_id))
    if context.login:
        subjects.append((LockTarget.LOGIN, context.login))
    if context.serial:
        subjects.append((LockTarget.SERIAL, context.serial))
    return subjects


def _agent_decision(verb: str, context: AccessContext) -> Decision:
    allowed = verb in AGENT_VERBS
    reason = "an agent may" if allowed else f"an agent may not {verb}"
    return Decision(allowed=allowed, reason=reason, decision_id=context.decision_id)


def _connect_decision(identity: UserIdentity, resource: Resource, context: AccessContext) -> Decision:
    grants = identity.grants_on(resource.name).granting(resource.labels)
    if identity.logins is not None:
        grants = tuple((role, logins & frozenset(identity.logins)) for role, logins in grants)
    if context.login is not None:
        return _login_decision(identity, resource, context, logins=_sorted_logins(grants))
    if context.locks:
        granted = _sorted_logins(grants)
        locked = context.locks.locked_names(LockTarget.LOGIN)
        grants = tuple((role, logins - locked) for role, logins in grants)
        lock = context.locks.find((LockTarget.LOGIN, login) for login in granted)
        if lock is not None and locked.issuperset(granted):
            return _locked(lock, context)
    options = [role.options for role, logins in grants if logins]
    reason = _objection(strictest(options), identity, context) if options else _NO_LOGIN
    lacking = {} if reason else lacking_by_login(grants, identity, resource, context)
    needs = strictest_mfa(lacking.values())
    if lacking and not context.asks_proof:
        reason = ask_for(needs)
    if reason:
        return Decision(
            allowed=False,
            reason=reason,
            decision_id=context.decision_id,
            logins=_sorted_logins(grants) if lacking else (),
            needs_mfa=needs,
            unproven=tuple(lacking),
        )
    return Decision(
        allowed=True,
        reason="a role allows a login here",
        decision_id=context.decision_id,
        logins=_sorted_logins(grants),
        permissions=_permissions(strictest(options)),
        idle_timeout=strictest(options).idle_timeout,
        max_connections=strictest(options).max_connections,
        needs_mfa=needs,
        unproven=tuple(lacking),
    )


def _sorted_logins(grants: Grants) -> tuple[str, ...]:
    return tuple(sorted(frozenset[str]().union(*(logins for _role, logins in grants))))


def _login_decision(
    identity: UserIdentity, resource: Resource, context: AccessContext, *, logins: tuple[str, ...]
) -> Decision:
    login = context.login or ""
    verdict = evaluate(
        identity.definitions_on(resource.name),
        NodeRequest(labels=resource.labels, login=login, traits=identity.traits, claims=identity.claims),
    )
    objection, needs = "", SessionMfa.NONE
    if verdict.options and login in logins:
        objection = _objection(verdict.options, identity, context)
        needs = lacking_mfa(verdict.options, identity, resource, context)
        if needs is not SessionMfa.NONE and not context.asks_proof:
            objection = objection or ask_for(needs)
    allowed = verdict.allowed and login in logins and not objection
    reason = verdict.reason
    if verdict.allowed and not allowed:
        reason = objection or f"your certificate does not list the login {login}"
    limits = verdict.options if allowed else None
    return Decision(
        allowed=allowed,
        reason=reason,
        role=verdict.role or "",
        decision_id=context.decision_id,
        logins=logins,
        permissions=_permissions(limits) if limits else (),
        idle_timeout=limits.idle_timeout if limits else 0,
        max_connections=limits.max_connections if limits else 0,
        needs_mfa=needs,
        unproven=() if needs is SessionMfa.NONE else (login,),
    )


def _app_decision(identity: UserIdentity, resource: Resource, context: AccessContext) -> Decision:
    """Whether the user may use an application: labels decide, and the options of the roles that allow it."""
    verdict = identity.app_grants.decide(resource.labels)
    options = verdict.options
    if options is None:
        return Decision(
            allowed=False,
            reason=verdict.reason,
            role=verdict.role or "",
            decision_id=context.decision_id,
        )
    needs = lacking_mfa(options, identity, resource, context)
    reason = _app_objection(options, identity, context) or _objection(options, identity, context)
    if needs is not SessionMfa.NONE and not context.asks_proof:
        reason = reason or ask_for(needs)
    return Decision(
        allowed=not reason,
        reason=reason or verdict.reason,
        role=verdict.role or "",
        decision_id=context.decision_id,
        idle_timeout=0 if reason else options.idle_timeout,
        max_connections=0 if reason else options.max_connections,
        max_session_ttl=0 if reason else options.max_session_ttl,
        needs_mfa=needs,
    )


def _app_objection(options: RoleOptions, identity: UserIdentity, context: AccessContext) -> str:
    if context.over_tcp:
        return tcp_objection(options)
    return _NO_DEVICE if options.require_trusted_device and not identity.device_id else ""


def tcp_objection(options: RoleOptions) -> str:
    """Return why roles with these options open no TCP application; empty when they do.

    What cannot be asked of whoever connects is refused, not left out (page on application access).
    """
    if options.require_session_mfa is not SessionMfa.NONE:
        return "your roles ask for a second factor for each session, which a TCP application cannot ask for"
    if options.require_trusted_device:
        return "your roles ask for a trusted device, which a TCP application cannot check"
    return ""


def _request_decision(identity: UserIdentity, resource: Resource, context: AccessContext) -> Decision:
    """Whether the user may ask for a role or a node. What was granted by a request grants no asking (E18)."""
    if resource.kind == "role":
        allowed = may_request_role(identity.standing, resource.name)
        reason = f"a role of yours {'lets' if allowed else 'must let'} you ask for it in request_roles"
    else:
        allowed = bool(roles_naming(identity.standing, resource.name))
        reason = f"a role of yours {'names' if allowed else 'must name'} it in request_resources.nodes"
    return Decision(allowed=allowed, reason=reason, decision_id=context.decision_id)


def _review_decision(identity: UserIdentity, resource: Resource, context: AccessContext) -> Decision:
    """Whether the user may review requests for a role, or (kind `access_request`) any requests at all.

    Nobody reviews what they ask for themselves, administrators neither (E18).
    """
    if resource.owner == identity.name:
        return Decision(
            allowed=False,
            reason="nobody reviews a request of their own",
            decision_id=context.decision_id,
        )
    for role in identity.standing:
        any_request = resource.kind == "access_request" and bool(role.allow.review_roles)
        named = resource.kind == "role" and may_review_role([role], resource.name)
        if any_request or named or role_allows_verb(role, "requests.review"):
            return Decision(
                allowed=True, reason=f"role {role.name}", role=role.name, decision_id=context.decision_id
            )
    return Decision(
        allowed=False, reason="no role of yours reviews it in review_roles", decision_id=context.decision_id
    )


def unenforced(options: RoleOptions) -> list[str]:
    """Return the names of options that ask for what this version cannot do yet.

    Such a role is not stored; where one is found nevertheless (a newer hub has stored it), access is denied.
    """
    asked = {
        "record_session": options.record_session is not RecordSession.DEFAULT,
    }
    return [name for name, is_asked in asked.items() if is_asked]


def _objection(options: RoleOptions, identity: UserIdentity, context: AccessContext) -> str:
    """What the options of the granting roles have against it; empty when nothing."""
    missing = unenforced(options)
    if missing:
        return _cannot(missing)
    if options.pin_source_ip and not is_pinned_here(identity.pinned_to, context.client_address):
        return "your roles ask for a certificate that is pinned to your address: log in again"
    if options.require_trusted_device and not identity.device_id:
        return "your roles ask for a trusted device: `msh device enroll`, have it approved, and log in again"
    return ""


def _cannot(missing: list[str]) -> str:
    return f"your roles ask for {', '.join(missing)}, which this hub cannot do yet"


def _permissions(options: RoleOptions) -> tuple[str, ...]:
    names = ("agent_forwarding", "file_copy", "port_forwarding")
    return tuple(name for name in names if getattr(options, name))


def session_permissions(identity: UserIdentity) -> tuple[str, ...]:
    """Return what a certificate of this user may permit at all, sorted: the strictest over all their roles."""
    options = [role.options for role in identity.definitions]
    return _permissions(strictest(options)) if options else ()


_DECISIONS = {
    "nodes.connect": _connect_decision,
    "apps.connect": _app_decision,
    "requests.create": _request_decision,
    "requests.review": _review_decision,
}
"""Verbs that are about more than what a role says of verbs."""
