# SPDX-License-Identifier: Apache-2.0
"""From the names of a user's roles to what the roles are now."""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import lru_cache
from typing import TYPE_CHECKING

from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.role_document import RoleProblems, parse_role
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role
from mezite.storage import roles

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["definitions", "stored_role"]

_EVERYTHING = LabelSelector.parse({"*": "*"})


@lru_cache(maxsize=1024)
def stored_role(name: str, document: str) -> Role:
    """Return the role of a stored document.

    One that this version cannot read (a newer hub wrote it, or somebody by hand) denies everything: to leave out
    a role would leave out what it denies.
    """
    try:
        role = parse_role(json.loads(document))
        if role.name == name:
            return role
    except (RoleProblems, ValueError):
        pass
    nothing = Conditions(node_labels=_EVERYTHING, app_labels=_EVERYTHING, logins=("*",))
    return Role(name=name, description="This version of mezite cannot read the role", deny=nothing)


def definitions(conn: Connection, names: Collection[str]) -> tuple[Role, ...]:
    """Return the roles of these names as they are now, in that order; a name without a role grants nothing."""
    found = dict(BUILT_IN_ROLES)
    for row in roles.get_many(conn, names=[name for name in names if name not in BUILT_IN_ROLES]):
        found[row.name] = stored_role(row.name, row.document)
    return tuple(found[name] for name in names if name in found)
