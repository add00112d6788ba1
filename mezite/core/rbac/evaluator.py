# SPDX-License-Identifier: Apache-2.0
"""May this user reach this node or application? One granting role is needed, and no denying one. Deny always
wins.

Deny labels and deny logins stand for themselves: a role denies a resource by its labels, and a login
everywhere.
"""

import enum
from collections.abc import Collection, Mapping, Sequence

import attrs

from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.login_templates import ANY_LOGIN, Traits, expand_logins
from mezite.core.rbac.roles import Conditions, Role

__all__ = ["AppRequest", "Decision", "NodeRequest", "all_logins", "allowed_logins", "evaluate"]

NO_TRAITS: Mapping[str, Collection[str]] = {}


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
    """Which rule decided."""

    DENIED_RESOURCE = "denied resource"
    DENIED_LOGIN = "denied login"
    GRANTED = "granted"
    LOGIN_NOT_LISTED = "login not listed"
    NOTHING_MATCHES = "nothing matches"


@attrs.frozen(kw_only=True)
class Decision:
    """The answer, with what decided it."""

    allowed: bool
    reason: str
    """For people; names the role and what was missing."""
    effect: Effect
    role: str | None = None
    """The role that granted or denied; None when no role speaks of the resource."""
    granting_roles: tuple[str, ...] = ()
    """All roles that grant this access; their options combine to the strictest."""


def evaluate(roles: Sequence[Role], request: NodeRequest | AppRequest) -> Decision:
    """Decide ``request`` for a user who has ``roles``, in whatever order they are given."""
    denial = find_denial(roles, request)
    if denial is not None:
        return denial
    matching = [role for role in roles if selector(role.allow, request).matches(request.labels)]
    granting = [role.name for role in matching if grants_login(role, request)]
    if granting:
        return Decision(
            allowed=True,
            reason=f"role {granting[0]} allows it",
            effect=Effect.GRANTED,
            role=granting[0],
            granting_roles=tuple(granting),
        )
    if matching and isinstance(request, NodeRequest):
        names = ", ".join(role.name for role in matching)
        return Decision(
            allowed=False,
            reason=f"the login {request.login!r} is not among those that {names} allows",
            effect=Effect.LOGIN_NOT_LISTED,
            role=matching[0].name,
        )
    what = "node" if isinstance(request, NodeRequest) else "application"
    return Decision(allowed=False, reason=f"no role allows this {what}", effect=Effect.NOTHING_MATCHES)


def find_denial(roles: Sequence[Role], request: NodeRequest | AppRequest) -> Decision | None:
    for role in roles:
        if selector(role.deny, request).matches(request.labels):
            reason, effect = f"role {role.name} denies it by its labels", Effect.DENIED_RESOURCE
        elif isinstance(request, NodeRequest) and denies_login(role, request):
            reason, effect = f"role {role.name} denies the login {request.login!r}", Effect.DENIED_LOGIN
        else:
            continue
        return Decision(allowed=False, reason=reason, effect=effect, role=role.name)
    return None


def selector(conditions: Conditions, request: NodeRequest | AppRequest) -> LabelSelector:
    return conditions.node_labels if isinstance(request, NodeRequest) else conditions.app_labels


def denies_login(role: Role, request: NodeRequest) -> bool:
    denied = expand_logins(role.deny.logins, Traits(request.traits, request.claims))
    return ANY_LOGIN in denied or request.login in denied


def grants_login(role: Role, request: NodeRequest | AppRequest) -> bool:
    if isinstance(request, AppRequest):
        return True
    return request.login in expand_logins(role.allow.logins, Traits(request.traits, request.claims))


def allowed_logins(
    roles: Sequence[Role],
    traits: Mapping[str, Collection[str]],
    node_labels: Mapping[str, str],
    claims: Mapping[str, Collection[str]] = NO_TRAITS,
) -> frozenset[str]:
    """Every login for which evaluate would allow a node with these labels; empty when there is none."""
    if any(role.deny.node_labels.matches(node_labels) for role in roles):
        return frozenset()
    granting = [role for role in roles if role.allow.node_labels.matches(node_labels)]
    return permitted_logins(granting, roles, Traits(traits, claims))


def all_logins(
    roles: Sequence[Role],
    traits: Mapping[str, Collection[str]],
    claims: Mapping[str, Collection[str]] = NO_TRAITS,
) -> frozenset[str]:
    """Every login that some role allows on some node: an upper bound, for the principals of a certificate."""
    granting = [role for role in roles if role.allow.node_labels.values_by_key]
    return permitted_logins(granting, roles, Traits(traits, claims))


def permitted_logins(granting: Sequence[Role], roles: Sequence[Role], traits: Traits) -> frozenset[str]:
    allowed = frozenset[str]().union(*(expand_logins(role.allow.logins, traits) for role in granting))
    denied = frozenset[str]().union(*(expand_logins(role.deny.logins, traits) for role in roles))
    return frozenset() if ANY_LOGIN in denied else allowed - denied
