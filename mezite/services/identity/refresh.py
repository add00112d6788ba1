# SPDX-License-Identifier: Apache-2.0
"""Identities of things that run, compared with the database as it is now (threats E6, E14)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mezite.core.rbac.roles import Role
from mezite.services.identity.identities import UserIdentity, user_as_now
from mezite.services.identity.requested_access import requested_access
from mezite.services.identity.role_definitions import definitions
from mezite.services.identity.trusted_device import trusted_device
from mezite.storage import app_sessions, users, web_sessions
from mezite.storage.users import UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["refresh"]

_Known = dict[str, tuple[UserRow | None, tuple[Role, ...]]]


def refresh(conn: Connection, *, identities: Iterable[UserIdentity], now: int) -> list[UserIdentity | str]:
    """Return for each identity what it is now, or why it is nobody any more, for its holder to read."""
    known: _Known = {}
    identities = list(identities)
    # What runs at the same time for one browser has the same identity, one object.
    different = {id(identity): identity for identity in identities}
    answers = {key: _as_now(conn, identity, known, now) for key, identity in different.items()}
    return [answers[id(identity)] for identity in identities]


def _as_now(conn: Connection, identity: UserIdentity, known: _Known, now: int) -> UserIdentity | str:
    if identity.name not in known:
        found = users.get(conn, name=identity.name)
        known[identity.name] = found, () if found is None else definitions(conn, found.roles)
    user, roles = known[identity.name]
    if user is None or user.created_at != identity.user_created_at:
        return f"user {identity.name} was deleted"
    if user.disabled_at is not None:
        return f"user {identity.name} is disabled: ask an administrator"
    hashed = identity.session_hash
    if hashed and web_sessions.get_live(conn, token_hash=hashed, now=now) is None:
        return "the session has ended: log in again"
    if identity.app_session and app_sessions.is_revoked(conn, id=identity.app_session):
        return "the session at this application was ended: open it again"
    requested = requested_access(conn, identity.name, roles, identity.requested.request_ids, now=now)
    device_id = trusted_device(conn, identity.name, identity.device_id)
    return user_as_now(identity, user, roles, requested, device_id)
