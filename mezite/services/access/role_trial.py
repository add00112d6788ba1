# SPDX-License-Identifier: Apache-2.0
"""What a role would change before it is stored: who gains and loses what, and which past accesses it would refuse."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.rbac.evaluator import NodeGrants
from mezite.core.rbac.roles import Role
from mezite.services.access.roles import KnownRole, all_users, checked_role
from mezite.services.identity.role_definitions import definitions
from mezite.services.sources import Sources
from mezite.storage import agents, audit_events, roles
from mezite.storage.agents import AgentRow
from mezite.storage.audit_events import AuditEventRow, AuditPosition, AuditQuery
from mezite.storage.database import Database
from mezite.storage.users import UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AccessDifference", "AccessPair", "RefusedAccess", "Replay", "RoleTrial"]

MAX_PAIRS = 1000
"""Pairs of each kind that a trial lists; what it counts has no limit."""

MAX_REPLAYED = 200_000
"""Events read again in one trial: half a minute of one processor; older ones are left out, and that is said."""

_PAGE = 1000

_ACCESSES = (EventType.SESSION_START.type_name, EventType.PORT_FORWARD.type_name)


@attrs.frozen(kw_only=True, order=True)
class AccessPair:
    """A login that a user has on a node."""

    user: str
    node: str
    login: str


@attrs.frozen(kw_only=True)
class RefusedAccess:
    """What a user did in the past, may do again today, and could not do any more."""

    pair: AccessPair
    count: int
    """How often in the days replayed."""
    last_at: int
    """Milliseconds."""


@attrs.frozen(kw_only=True)
class Replay:
    """The accesses of some days, decided again with the labels that the nodes had then."""

    accesses: int = 0
    """How many were read: sessions and forwarded connections."""
    refused: tuple[RefusedAccess, ...] = ()
    """The most frequent first."""
    reaches_back_to: int = 0
    """Milliseconds; later than what was asked for when there were too many to read."""


@attrs.define(kw_only=True)
class AccessDifference:
    """What a change of a role would give and take."""

    gained: list[AccessPair] = attrs.field(factory=list)
    lost: list[AccessPair] = attrs.field(factory=list)
    gained_count: int = 0
    lost_count: int = 0

    def count(self, pair: AccessPair, *, gained: bool) -> None:
        """Add one."""
        if gained:
            self.gained_count += 1
        else:
            self.lost_count += 1
        pairs = self.gained if gained else self.lost
        if len(pairs) < MAX_PAIRS:
            pairs.append(pair)


@attrs.frozen
class _Holder:
    """A user who has the role, with what they may before and after."""

    user: UserRow
    before: NodeGrants
    after: NodeGrants


class RoleTrial:
    """Answers questions about roles that are not stored yet; changes nothing."""

    def __init__(self, *, database: Database, sources: Sources) -> None:
        self._database = database
        self._sources = sources

    async def try_out(
        self, document: str, *, replay_days: int = 0
    ) -> tuple[KnownRole, bool, AccessDifference, Replay]:
        """Say what storing the role would change, whether it is new, and what it would have refused of late.

        :raises InvalidRequestError: as `RoleCatalog.put`. :raises ConflictError: as `RoleCatalog.put`.
        """
        role = checked_role(document)
        before, resolved, nodes = await self._database.read(_affected, name=role.name)
        holders = [_holder(user, has, role, is_new=before is None) for user, has in resolved]
        difference = AccessDifference()
        for holder in holders:
            for pair, gained in _differences(holder, nodes):
                difference.count(pair, gained=gained)
            await trio.lowlevel.checkpoint()
        replay = await self._replay(holders, replay_days) if replay_days else Replay()
        return KnownRole(role=role, built_in=False), before is None, difference, replay

    async def _replay(self, holders: list[_Holder], days: int) -> Replay:
        """Read page by page: a year of a large cluster does not fit into memory."""
        by_name = {holder.user.name: holder for holder in holders}
        now = self._sources.now()
        since = oldest = now - days * 86_400_000
        refused: dict[AccessPair, RefusedAccess] = {}
        accesses, before = 0, None
        while accesses < MAX_REPLAYED:
            wanted = AuditQuery(event_types=_ACCESSES, since=since, until=now, before=before, limit=_PAGE)
            page = await self._database.read(audit_events.query, wanted=wanted)
            for row in page:
                holder = by_name.get(row.user_name or "")
                if holder is not None:
                    _decide_again(holder, row, refused)
            accesses += len(page)
            if len(page) < _PAGE:
                break
            before = AuditPosition(page[-1].timestamp, page[-1].id)
        else:
            oldest = before.timestamp if before is not None else since
        worst = sorted(refused.values(), key=lambda each: (-each.count, each.pair))
        return Replay(accesses=accesses, refused=tuple(worst[:MAX_PAIRS]), reaches_back_to=oldest)


def _holder(user: UserRow, has: tuple[Role, ...], role: Role, *, is_new: bool) -> _Holder:
    will_have = tuple(role if each.name == role.name else each for each in has)
    if is_new:
        will_have = (*will_have, role)
    return _Holder(
        user,
        NodeGrants(has, user.traits, user.claims),
        NodeGrants(will_have, user.traits, user.claims),
    )


def _affected(
    conn: Connection, *, name: str
) -> tuple[roles.RoleRow | None, list[tuple[UserRow, tuple[Role, ...]]], list[AgentRow]]:
    holders = [user for user in all_users(conn) if name in user.roles]
    resolved = [(user, definitions(conn, user.roles)) for user in holders]
    return roles.get(conn, name=name), resolved, _all_nodes(conn) if holders else []


def _all_nodes(conn: Connection) -> list[AgentRow]:
    rows: list[AgentRow] = []
    while page := agents.list_all(conn, after=rows[-1].node_name if rows else ""):
        rows += page
    return rows


def _differences(holder: _Holder, nodes: list[AgentRow]) -> Iterator[tuple[AccessPair, bool]]:
    for node in nodes:
        had, gets = holder.before.logins(node.labels), holder.after.logins(node.labels)
        for login in sorted(had ^ gets):
            yield AccessPair(user=holder.user.name, node=node.node_name, login=login), login in gets


def _decide_again(holder: _Holder, row: AuditEventRow, refused: dict[AccessPair, RefusedAccess]) -> None:
    event = json.loads(row.json)
    labels, login = event.get("resource_labels") or {}, str(event.get("login", ""))
    if not _loses(holder, labels, login):
        return
    pair = AccessPair(user=holder.user.name, node=row.resource_name or "", login=login)
    known = refused.get(pair)
    if known is None:
        refused[pair] = RefusedAccess(pair=pair, count=1, last_at=row.timestamp)
    else:
        refused[pair] = attrs.evolve(known, count=known.count + 1)


def _loses(holder: _Holder, labels: Mapping[str, str], login: str) -> bool:
    return login in holder.before.logins(labels) and login not in holder.after.logins(labels)
