# SPDX-License-Identifier: Apache-2.0
"""Which roles and nodes somebody may ask for, who may review it, and what a granted node is like.

The roles given to these functions are those that the person has for good: what was granted by a request grants
nothing further (threat E18).
"""

from collections.abc import Collection, Iterable
from functools import lru_cache

import attrs

from mezite.core.names import check_role_name
from mezite.core.rbac.label_matcher import LabelSelector, ValueCondition, parse_values
from mezite.core.rbac.roles import Role
from mezite.core.rbac.value_pattern import ValuePattern, is_pattern

__all__ = ["check_role_entry", "may_request_role", "may_review_role", "roles_naming", "with_nodes"]

EVERYTHING = LabelSelector.parse({"*": "*"})
NODES = "nodes"
ANY_ROLE = "*"


def check_role_entry(entry: str) -> str:
    """An entry of ``request_roles`` or ``review_roles``: a name, ``*`` or ``^…$``.

    Raises ValueError (InvalidNameError, InvalidPatternError are kinds of it): it is none of them.
    """
    if entry != ANY_ROLE:
        if is_pattern(entry):
            ValuePattern(entry)
        else:
            check_role_name(entry)
    return entry


@lru_cache(maxsize=1024)
def condition(entries: tuple[str, ...]) -> ValueCondition:
    return parse_values("role", entries)


def names_role(entries: tuple[str, ...], name: str) -> bool:
    return bool(entries) and condition(entries).admits(name)


def may_request_role(roles: Iterable[Role], name: str) -> bool:
    """Whether one of ``roles`` lets its holder ask for the role ``name``."""
    return any(names_role(role.allow.request_roles, name) for role in roles)


def may_review_role(roles: Iterable[Role], name: str) -> bool:
    """Whether one of ``roles`` lets its holder review requests for the role ``name``."""
    return any(names_role(role.allow.review_roles, name) for role in roles)


def roles_naming(roles: Iterable[Role], node: str) -> tuple[Role, ...]:
    """Those of ``roles`` that let their holder ask for ``node``: exact names, no patterns."""
    return tuple(role for role in roles if node in role.allow.request_resources.get(NODES, ()))


def with_nodes(roles: Iterable[Role], nodes: Collection[str]) -> tuple[Role, ...]:
    """``roles`` as they are on one of the granted ``nodes`` that they name: there their logins count, whatever the
    node's labels. What they deny, they still deny.
    """
    return tuple(
        granted(role) if any(roles_naming([role], node) for node in nodes) else role for role in roles
    )


def granted(role: Role) -> Role:
    return attrs.evolve(role, allow=attrs.evolve(role.allow, node_labels=EVERYTHING))
