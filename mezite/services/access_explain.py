# SPDX-License-Identifier: Apache-2.0
"""Why a user may, or may not, log in on a node as things are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.rbac.changes import find_flip, flip_text
from mezite.core.rbac.evaluator import NodeRequest, Rule, evaluate
from mezite.core.rbac.locks import LockTarget
from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.roles import Role
from mezite.services.authorization import unenforced, user_subjects
from mezite.services.errors import NotFoundError
from mezite.services.lock_feed import LockFeed
from mezite.services.role_definitions import definitions
from mezite.services.sources import Sources
from mezite.storage import agents, users
from mezite.storage.agents import AgentRow
from mezite.storage.database import Database
from mezite.storage.users import UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AccessExplainer", "AccessExplanation"]


@attrs.frozen(kw_only=True)
class AccessExplanation:
    """The answer and its ground."""

    allowed: bool
    reason: str
    role: str
    """The role that decided; empty when none did."""
    rule: str
    """`allow.logins`, `deny.node_labels` ...; empty when no role speaks of the node."""
    labels: Mapping[str, str]
    """Labels of the node that the rule speaks of."""
    logins: Mapping[str, tuple[str, ...]]
    """Entries of the rule with the logins that each stands for."""
    would_flip: str
    """The least change that would turn the answer round."""
    decision_id: str


class AccessExplainer:
    """Explains decisions to administrators."""

    def __init__(self, *, database: Database, sources: Sources, locks: LockFeed) -> None:
        self._locks = locks
        self._database = database
        self._sources = sources

    async def explain(self, user_name: str, node_name: str, login: str) -> AccessExplanation:
        """Decide as a connection of this user would be decided now, with a certificate that was just issued.

        :raises NotFoundError: there is no such user or node.
        """

        def look_up(conn: Connection) -> tuple[UserRow | None, tuple[Role, ...], AgentRow | None]:
            user = users.get(conn, name=user_name)
            roles = () if user is None else definitions(conn, user.roles)
            return user, roles, agents.get_by_name(conn, node_name=node_name)

        user, roles, node = await self._database.read(look_up)
        if user is None:
            raise NotFoundError(f"user {user_name[:64]} does not exist: `mezctl users ls` shows who does")
        if node is None:
            raise NotFoundError(
                f"node {node_name[:64]}: not found; `mezctl nodes ls` shows the nodes there are"
            )
        return self._explanation(user, roles, node, login)

    def _explanation(
        self, user: UserRow, roles: tuple[Role, ...], node: AgentRow, login: str
    ) -> AccessExplanation:
        request = NodeRequest(labels=node.labels, login=login, traits=user.traits, claims=user.claims)
        decision = evaluate(roles, request)
        rule = decision.rule or Rule(role="", path="")
        reason, would_flip = decision.reason, flip_text(find_flip(roles, request))
        if decision.options is not None and decision.options.require_trusted_device:
            reason += ", from a trusted device"
        if decision.options is not None and decision.options.require_session_mfa is not SessionMfa.NONE:
            reason += f"; each session needs MFA ({decision.options.require_session_mfa.value})"
        missing = unenforced(decision.options) if decision.options else []
        obstacle = self._lock(user, node, login) or _obstacle(user, node, missing)
        if obstacle is not None:
            # What stands in the way of everybody comes before what the roles say.
            also = "" if decision.allowed else f" and {would_flip}"
            reason, would_flip = obstacle[0], obstacle[1] + also
        return AccessExplanation(
            allowed=decision.allowed and obstacle is None,
            reason=reason,
            role=rule.role,
            rule=rule.path,
            labels=rule.labels,
            logins=rule.logins,
            would_flip=would_flip,
            decision_id=self._sources.new_id(),
        )

    def _lock(self, user: UserRow, node: AgentRow, login: str) -> tuple[str, str] | None:
        subjects = [
            *user_subjects(user.name, user.roles),
            (LockTarget.NODE, node.node_name),
            (LockTarget.AGENT, node.agent_id),
            (LockTarget.LOGIN, login),
        ]
        lock = self._locks.current.find(subjects)
        return None if lock is None else (lock.reason, f"lift lock {lock.id}")


def _obstacle(user: UserRow, node: AgentRow, missing: list[str]) -> tuple[str, str] | None:
    """What refuses a connection whatever the roles allow: why, and what would change it."""
    if user.disabled_at is not None:
        return f"user {user.name} is disabled", "enable the user"
    if node.locked_at is not None:
        return f"node {node.node_name} is locked: {node.lock_reason}", "let its agent join again"
    if missing:
        options = ", ".join(missing)
        return (
            f"the roles ask for {options}, which this hub cannot do yet",
            f"take {options} out of the roles",
        )
    return None
