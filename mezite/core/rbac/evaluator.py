# SPDX-License-Identifier: Apache-2.0
"""May this user reach this node or application? One granting role is needed, and no denying one. Deny always
wins.

Deny labels and deny logins stand for themselves: a role denies a resource by its labels, and a login
everywhere. The roles of a user have different names.
"""

import enum
from collections.abc import Collection, Mapping, Sequence

import attrs

from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.login_templates import ANY_LOGIN, Traits, expand_logins
from mezite.core.rbac.role_options import RoleOptions, strictest
from mezite.core.rbac.roles import Conditions, Role

__all__ = [
    "AppRequest",
    "Decision",
    "Effect",
    "Grants",
    "NodeGrants",
    "NodeRequest",
    "Rule",
    "all_logins",
    "allowed_logins",
    "denying_rules",
    "evaluate",
    "grants_login",
    "selector",
]

NO_TRAITS: Mapping[str, Collection[str]] = {}

Grants = tuple[tuple[Role, frozenset[str]], ...]

MAX_ANSWERS = 4096
"""Kinds of node remembered for one user: about half a megabyte. Clusters have hundreds of kinds."""


@attrs.frozen(kw_only=True)
class NodeRequest:
    """May the user log in as ``login`` on a node with ``labels``?"""

    labels: Mapping[str, str]
    login: str
    traits: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """The user's own traits (``{{internal.…}}``)."""
    claims: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """The connector's claims (``{{external.…}}``)."""


@attrs.frozen(kw_only=True)
class AppRequest:
    """May the user use an application with ``labels``?"""

    labels: Mapping[str, str]


class Effect(enum.Enum):
    """Which kind of rule decided."""

    DENIED_RESOURCE = "denied resource"
    DENIED_LOGIN = "denied login"
    GRANTED = "granted"
    LOGIN_NOT_LISTED = "login not listed"
    NOTHING_MATCHES = "nothing matches"


@attrs.frozen(kw_only=True)
class Rule:
    """The part of a role that decided, and what it was held against."""

    role: str
    path: str
    """``deny.node_labels``, ``deny.logins``, ``allow.logins``, ``allow.app_labels``."""
    labels: Mapping[str, str] = attrs.field(factory=dict)
    """The labels of the resource that the role's selector speaks of."""
    logins: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    """The role's entries at ``path`` if it is one of logins, each with the logins that it stands for."""


@attrs.frozen(kw_only=True)
class Decision:
    """The answer, with what decided it. ``mezite.core.rbac.changes`` says what would flip it."""

    allowed: bool
    reason: str
    """For people; names the role and what was missing."""
    effect: Effect
    role: str | None = None
    """The role that granted or denied; None when no role speaks of the resource."""
    rule: Rule | None = None
    """The rule that decided; None when no role speaks of the resource."""
    granting_roles: tuple[str, ...] = ()
    """All roles that grant this access."""
    options: RoleOptions | None = None
    """What the access is like: the strictest over the roles that grant it. None when it is not allowed."""


def evaluate(roles: Sequence[Role], request: NodeRequest | AppRequest) -> Decision:
    """Decide ``request`` for a user who has ``roles``, in whatever order they are given."""
    denials = denying_rules(roles, request)
    if denials:
        return denied(denials[0], request)
    matching = [role for role in roles if selector(role.allow, request).matches(request.labels)]
    granting = [role for role in matching if grants_login(role, request)]
    if granting:
        return Decision(
            allowed=True,
            reason=f"role {granting[0].name} allows it",
            effect=Effect.GRANTED,
            role=granting[0].name,
            rule=allowing_rule(granting[0], request),
            granting_roles=tuple(role.name for role in granting),
            options=strictest(role.options for role in granting),
        )
    if matching and isinstance(request, NodeRequest):
        names = ", ".join(role.name for role in matching)
        return Decision(
            allowed=False,
            reason=f"the login {request.login!r} is not among those that {names} allows",
            effect=Effect.LOGIN_NOT_LISTED,
            role=matching[0].name,
            rule=allowing_rule(matching[0], request),
        )
    what = "node" if isinstance(request, NodeRequest) else "application"
    return Decision(allowed=False, reason=f"no role allows this {what}", effect=Effect.NOTHING_MATCHES)


def denied(rule: Rule, request: NodeRequest | AppRequest) -> Decision:
    if rule.path == "deny.logins" and isinstance(request, NodeRequest):
        reason, effect = f"role {rule.role} denies the login {request.login!r}", Effect.DENIED_LOGIN
    else:
        reason, effect = f"role {rule.role} denies it by its labels", Effect.DENIED_RESOURCE
    return Decision(allowed=False, reason=reason, effect=effect, role=rule.role, rule=rule)


def denying_rules(roles: Sequence[Role], request: NodeRequest | AppRequest) -> list[Rule]:
    """Every rule of ``roles`` that denies ``request``, in their order."""
    rules = []
    for role in roles:
        denied_labels = selector(role.deny, request)
        if denied_labels.matches(request.labels):
            path = f"deny.{labels_key(request)}"
            rules.append(Rule(role=role.name, path=path, labels=mentioned(denied_labels, request)))
        if isinstance(request, NodeRequest) and denies_login(role, request):
            named = {
                entry: logins
                for entry, logins in meanings(role.deny.logins, request).items()
                if entry == ANY_LOGIN or request.login in logins
            }
            rules.append(Rule(role=role.name, path="deny.logins", logins=named))
    return rules


def denies_login(role: Role, request: NodeRequest) -> bool:
    if not role.deny.logins:
        return False
    denied_logins = expand_logins(role.deny.logins, Traits(request.traits, request.claims))
    return ANY_LOGIN in denied_logins or request.login in denied_logins


def allowing_rule(role: Role, request: NodeRequest | AppRequest) -> Rule:
    labels = mentioned(selector(role.allow, request), request)
    if isinstance(request, AppRequest):
        return Rule(role=role.name, path="allow.app_labels", labels=labels)
    logins = meanings(role.allow.logins, request)
    return Rule(role=role.name, path="allow.logins", labels=labels, logins=logins)


def mentioned(selected: LabelSelector, request: NodeRequest | AppRequest) -> dict[str, str]:
    return {key: value for key, value in request.labels.items() if key in selected.conditions}


def meanings(entries: Sequence[str], request: NodeRequest) -> dict[str, tuple[str, ...]]:
    traits = Traits(request.traits, request.claims)
    return {entry: tuple(sorted(expand_logins([entry], traits))) for entry in entries}


def labels_key(request: NodeRequest | AppRequest) -> str:
    return "node_labels" if isinstance(request, NodeRequest) else "app_labels"


def selector(conditions: Conditions, request: NodeRequest | AppRequest) -> LabelSelector:
    """The selector of ``conditions`` that speaks of what is asked for."""
    return conditions.node_labels if isinstance(request, NodeRequest) else conditions.app_labels


def grants_login(role: Role, request: NodeRequest | AppRequest) -> bool:
    """Whether ``role`` allows the login that is asked for; applications have none."""
    if isinstance(request, AppRequest):
        return True
    return request.login in expand_logins(role.allow.logins, Traits(request.traits, request.claims))


class NodeGrants:
    """What some roles allow a user on nodes, prepared for asking about many: templates are filled in once."""

    def __init__(
        self,
        roles: Sequence[Role],
        traits: Mapping[str, Collection[str]],
        claims: Mapping[str, Collection[str]] = NO_TRAITS,
    ) -> None:
        filled = Traits(traits, claims)
        self._denials = [role.deny.node_labels for role in roles if role.deny.node_labels.conditions]
        denied_logins = frozenset[str]().union(*(expand_logins(role.deny.logins, filled) for role in roles))
        self._mentioned = tuple(
            sorted(
                {
                    key
                    for role in roles
                    for side in (role.allow, role.deny)
                    for key in side.node_labels.conditions
                }
            )
        )
        self._answers: dict[tuple[str | None, ...], Grants] = {}
        self._grants: list[tuple[Role, frozenset[str]]] = []
        if ANY_LOGIN not in denied_logins:
            for role in roles:
                logins = expand_logins(role.allow.logins, filled) - denied_logins
                if logins and role.allow.node_labels.conditions:
                    self._grants.append((role, logins))

    def granting(self, labels: Mapping[str, str]) -> Grants:
        """The roles that grant some login on a node with ``labels``, each with these logins.

        Nodes that are alike in every label that some role mentions get the same answer, found once.
        """
        alike = tuple(map(labels.get, self._mentioned))
        answer = self._answers.get(alike)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[alike] = self._find(labels)
        return answer

    def _find(self, labels: Mapping[str, str]) -> Grants:
        if any(denial.matches(labels) for denial in self._denials):
            return ()
        return tuple(grant for grant in self._grants if grant[0].allow.node_labels.matches(labels))

    def logins(self, labels: Mapping[str, str]) -> frozenset[str]:
        """Every login for which evaluate would allow a node with these labels; empty when there is none."""
        return frozenset[str]().union(*(logins for _role, logins in self.granting(labels)))

    def everywhere(self) -> frozenset[str]:
        """Every login that some role allows on some node."""
        return frozenset[str]().union(*(logins for _role, logins in self._grants))


def allowed_logins(
    roles: Sequence[Role],
    traits: Mapping[str, Collection[str]],
    node_labels: Mapping[str, str],
    claims: Mapping[str, Collection[str]] = NO_TRAITS,
) -> frozenset[str]:
    """Every login for which evaluate would allow a node with these labels; empty when there is none."""
    return NodeGrants(roles, traits, claims).logins(node_labels)


def all_logins(
    roles: Sequence[Role],
    traits: Mapping[str, Collection[str]],
    claims: Mapping[str, Collection[str]] = NO_TRAITS,
) -> frozenset[str]:
    """Every login that some role allows on some node: an upper bound, for the principals of a certificate."""
    return NodeGrants(roles, traits, claims).everywhere()
