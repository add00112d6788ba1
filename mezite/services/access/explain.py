# SPDX-License-Identifier: Apache-2.0
"""Why a user may, or may not, log in on a node or use an application as things are now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.apps.app import AppProtocol
from mezite.core.rbac.changes import find_flip, flip_text
from mezite.core.rbac.evaluator import AppRequest, NodeRequest, Rule, evaluate
from mezite.core.rbac.locks import LockTarget, Subject
from mezite.core.rbac.role_options import RoleOptions, SessionMfa
from mezite.core.rbac.roles import Role
from mezite.services.access.authorization import tcp_objection, unenforced, user_subjects
from mezite.services.access.lock_feed import LockFeed
from mezite.services.errors import NotFoundError
from mezite.services.identity.role_definitions import definitions
from mezite.services.sources import Sources
from mezite.storage import agents, apps, users
from mezite.storage.agents import AgentRow
from mezite.storage.apps import AppRow
from mezite.storage.database import Database
from mezite.storage.users import UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AccessExplainer", "AccessExplanation"]

Obstacle = tuple[str, str]
"""Why it is refused, and what would change that."""


@attrs.frozen(kw_only=True)
class AccessExplanation:
    """The answer and its ground."""

    allowed: bool
    reason: str
    role: str
    """The role that decided; empty when none did."""
    rule: str
    """`allow.logins`, `deny.node_labels`, `allow.app_labels` ...; empty when no role speaks of it."""
    labels: Mapping[str, str]
    """Labels of the node or application that the rule speaks of."""
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
            return *_user(conn, user_name), agents.get_by_name(conn, node_name=node_name)

        user, roles, node = await self._database.read(look_up)
        if user is None:
            raise _no_such_user(user_name)
        if node is None:
            raise NotFoundError(
                f"node {node_name[:64]}: not found; `mezctl nodes ls` shows the nodes there are"
            )
        request = NodeRequest(labels=node.labels, login=login, traits=user.traits, claims=user.claims)
        subjects = [
            (LockTarget.NODE, node.node_name),
            (LockTarget.AGENT, node.agent_id),
            (LockTarget.LOGIN, login),
        ]
        options = evaluate(roles, request).options
        obstacle = self._lock(user, subjects) or _disabled(user) or _node_obstacle(node, options)
        return self._explanation(roles, request, obstacle)

    async def explain_app(self, user_name: str, app_name: str) -> AccessExplanation:
        """Decide as a request of this user to an application would be decided now.

        :raises NotFoundError: there is no such user or application.
        """

        def look_up(conn: Connection) -> tuple[UserRow | None, tuple[Role, ...], AppRow | None]:
            return *_user(conn, user_name), apps.get(conn, name=app_name)

        user, roles, app = await self._database.read(look_up)
        if user is None:
            raise _no_such_user(user_name)
        if app is None:
            raise NotFoundError(
                f"application {app_name[:64]} does not exist: `mezctl apps ls` shows the applications"
            )
        request = AppRequest(labels=app.labels)
        options = evaluate(roles, request).options
        obstacle = self._lock(user, []) or _disabled(user) or _app_obstacle(app, options)
        return self._explanation(roles, request, obstacle)

    def _explanation(
        self, roles: tuple[Role, ...], request: NodeRequest | AppRequest, obstacle: Obstacle | None
    ) -> AccessExplanation:
        decision = evaluate(roles, request)
        rule = decision.rule or Rule(role="", path="")
        reason, would_flip = decision.reason, flip_text(find_flip(roles, request))
        if decision.options is not None and decision.options.require_trusted_device:
            reason += ", from a trusted device"
        if decision.options is not None and decision.options.require_session_mfa is not SessionMfa.NONE:
            reason += f"; each session needs MFA ({decision.options.require_session_mfa.value})"
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

    def _lock(self, user: UserRow, subjects: list[Subject]) -> Obstacle | None:
        lock = self._locks.current.find([*user_subjects(user.name, user.roles), *subjects])
        return None if lock is None else (lock.reason, f"lift lock {lock.id}")


def _user(conn: Connection, name: str) -> tuple[UserRow | None, tuple[Role, ...]]:
    user = users.get(conn, name=name)
    return user, () if user is None else definitions(conn, user.roles)


def _no_such_user(name: str) -> NotFoundError:
    return NotFoundError(f"user {name[:64]} does not exist: `mezctl users ls` shows who does")


def _disabled(user: UserRow) -> Obstacle | None:
    return None if user.disabled_at is None else (f"user {user.name} is disabled", "enable the user")


def _node_obstacle(node: AgentRow, options: RoleOptions | None) -> Obstacle | None:
    """What refuses a connection whatever the roles allow: why, and what would change it."""
    if node.locked_at is not None:
        return f"node {node.node_name} is locked: {node.lock_reason}", "let its agent join again"
    return _missing(options)


def _app_obstacle(app: AppRow, options: RoleOptions | None) -> Obstacle | None:
    if app.disabled_at is not None:
        return f"application {app.name} is disabled", f"`mezctl apps enable {app.name}`"
    objection = tcp_objection(options) if options is not None and app.protocol == AppProtocol.TCP else ""
    if objection:
        return objection.replace("your roles", "the roles"), "take the option out of the roles"
    return _missing(options)


def _missing(options: RoleOptions | None) -> Obstacle | None:
    names = ", ".join(unenforced(options)) if options is not None else ""
    if not names:
        return None
    return f"the roles ask for {names}, which this hub cannot do yet", f"take {names} out of the roles"
