# SPDX-License-Identifier: Apache-2.0
"""Roles as values, the roles that every cluster has, and which verbs they may use."""

from collections.abc import Mapping
from types import MappingProxyType

import attrs

from mezite.core.names import check_role_name
from mezite.core.rbac.label_matcher import NOTHING, LabelSelector
from mezite.core.rbac.login_templates import ANY_LOGIN, check_login_entry
from mezite.core.rbac.role_options import RoleOptions

__all__ = [
    "BUILT_IN_ROLES",
    "Conditions",
    "Role",
    "role_allows_verb",
]

OWN_LOGINS = "{{internal.logins}}"
EVERYTHING = LabelSelector.parse({"*": "*"})
DEFAULT_OPTIONS = RoleOptions()


def check_logins(instance: "Conditions", attribute: object, logins: tuple[str, ...]) -> None:
    for entry in logins:
        if entry != ANY_LOGIN:
            check_login_entry(entry)


@attrs.frozen(kw_only=True)
class Conditions:
    """One side of a role: what it allows, or what it denies. A missing part matches nothing."""

    node_labels: LabelSelector = NOTHING
    app_labels: LabelSelector = NOTHING
    logins: tuple[str, ...] = attrs.field(default=(), validator=check_logins)
    """Names and templates; ``*`` in a deny only."""
    request_roles: tuple[str, ...] = ()
    review_roles: tuple[str, ...] = ()
    request_resources: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)


def check_allow(instance: "Role", attribute: object, allow: Conditions) -> None:
    if ANY_LOGIN in allow.logins:
        raise ValueError(f"role {instance.name!r} allows the login '*': name the logins, or use {OWN_LOGINS}")


@attrs.frozen(kw_only=True)
class Role:
    """A role. Raises ValueError when made: bad name, a login that is none, ``*`` among the allowed logins."""

    name: str = attrs.field(validator=lambda _instance, _attribute, name: check_role_name(name))
    description: str = ""
    options: RoleOptions = DEFAULT_OPTIONS
    allow: Conditions = attrs.field(default=Conditions(), validator=check_allow)
    deny: Conditions = Conditions()


BUILT_IN_ROLES: Mapping[str, Role] = MappingProxyType(
    {
        role.name: role
        for role in (
            Role(
                name="admin",
                description="Every verb; all nodes and applications, with one's own logins",
                allow=Conditions(node_labels=EVERYTHING, app_labels=EVERYTHING, logins=(OWN_LOGINS,)),
            ),
            Role(
                name="access",
                description="All nodes and applications, with one's own logins",
                allow=Conditions(node_labels=EVERYTHING, app_labels=EVERYTHING, logins=(OWN_LOGINS,)),
            ),
            Role(name="auditor", description="Read the audit log and the recordings"),
            Role(name="node", description="What a join token is good for: to become an agent"),
        )
    }
)
"""Not stored and not changeable; a stored role cannot take one of these names."""

OWN_VERBS = "self."
"""Verbs that every user has on their own account and on what they may see."""

VERBS: Mapping[str, tuple[str, ...]] = {
    "admin": ("*",),
    "access": ("self.*",),
    "auditor": ("self.*", "audit.list", "audit.get", "recordings.*"),
    "node": ("agent.join",),
}
"""Verbs by built-in role: a name, all names below a dot, or everything."""


def role_allows_verb(role: Role, verb: str) -> bool:
    """Whether ``role`` may use ``verb`` (``users.create``) at all; on what is the evaluator's question.

    Roles that are not built in allow their holder's own verbs (``self.…``) only, for now.
    """
    if BUILT_IN_ROLES.get(role.name) != role:
        return verb.startswith(OWN_VERBS)
    return any(verb_matches(pattern, verb) for pattern in VERBS[role.name])


def verb_matches(pattern: str, verb: str) -> bool:
    if pattern.endswith("*"):
        return verb.startswith(pattern[:-1]) and len(verb) >= len(pattern)
    return verb == pattern
