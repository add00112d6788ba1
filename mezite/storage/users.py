# SPDX-License-Identifier: Apache-2.0
"""Users: who may log in, with which roles and traits, and how often they failed to.

The counter of failed logins is spent *before* the password is checked (`count_login_attempt`), in one UPDATE:
fifty guesses sent at once are then fifty counted attempts, not fifty reads of the same counter.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import and_, case, func, or_, select
from sqlalchemy import delete as delete_from
from sqlalchemy import update as update_table

from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import users

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "LoginAttempt",
    "NewUser",
    "UserRow",
    "clear_failed_logins",
    "count",
    "count_login_attempt",
    "delete",
    "get",
    "give_back_login_attempt",
    "insert",
    "list_all",
    "lock_row",
    "set_disabled",
    "set_password",
    "update",
]


@attrs.frozen(kw_only=True)
class NewUser:
    """A user to insert.

    Without `password_hash` nobody can log in with a password (invite or connector only).
    """

    name: str
    password_hash: str | None = attrs.field(default=None, repr=False)
    roles: tuple[str, ...] = ()
    traits: Mapping[str, tuple[str, ...]] = attrs.field(factory=dict)
    origin: str | None = None
    """The connector the user came through; None: made here."""


@attrs.frozen(kw_only=True)
class UserRow:
    """One user. Times in ms; None is "never" or "not"."""

    name: str
    password_hash: str | None = attrs.field(repr=False)
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    created_at: int
    updated_at: int
    disabled_at: int | None
    failed_logins: int
    last_failed_at: int | None
    locked_until: int | None
    origin: str | None = None

    @property
    def claims(self) -> Mapping[str, tuple[str, ...]]:
        """What the connector has said at the last login (`{{external.…}}` in roles); nothing for a local user."""
        return {} if self.origin is None else self.traits


@attrs.frozen(kw_only=True)
class LoginAttempt:
    """What `count_login_attempt` found.

    `allowed`: the password may be checked. `attempts`: counted in this window, this one included.
    `locked_until`: ms while further attempts are (or, after this one, will be) refused.
    """

    allowed: bool
    attempts: int
    locked_until: int | None


def insert(conn: Connection, *, user: NewUser, now: int) -> UserRow:
    """Insert; AlreadyExistsError when the name is taken."""
    values = attrs.asdict(user, recurse=False) | {"created_at": now, "updated_at": now}
    row = insert_if_absent(conn, users, values)
    if row is None:
        raise AlreadyExistsError("user", user.name)
    return UserRow(**row._mapping)


def get(conn: Connection, *, name: str) -> UserRow | None:
    """The user, or None."""
    return first_row(UserRow, conn.execute(select(users).where(users.c.name == name)))


def list_all(conn: Connection, *, after: str = "", limit: int = 1000) -> list[UserRow]:
    """Up to `limit` users by name, from the first name above `after`."""
    statement = select(users).where(users.c.name > after).order_by(users.c.name).limit(limit)
    return all_rows(UserRow, conn.execute(statement))


def count(conn: Connection) -> int:
    """How many users there are; 0 tells a hub that was never bootstrapped."""
    return conn.execute(select(func.count()).select_from(users)).scalar_one()


def update(
    conn: Connection,
    *,
    name: str,
    roles: tuple[str, ...] | None = None,
    traits: Mapping[str, tuple[str, ...]] | None = None,
    origin: str | None = None,
    now: int,
) -> UserRow | None:
    """Replace roles, traits and/or origin (None: leave as they are).

    The new row, or None when there is no such user.
    """
    values: dict[str, object] = {"updated_at": now}
    if roles is not None:
        values["roles"] = roles
    if traits is not None:
        values["traits"] = traits
    if origin is not None:
        values["origin"] = origin
    access_changes.note(conn, AccessChange.RIGHTS)
    statement = update_table(users).where(users.c.name == name).values(values).returning(*users.c)
    return first_row(UserRow, conn.execute(statement))


def set_password(conn: Connection, *, name: str, password_hash: str | None, now: int) -> bool:
    """Replace the password hash (None: no password login) and forget failed logins.

    False when there is no such user.
    """
    values = {"password_hash": password_hash, "updated_at": now, **_NO_FAILURES}
    return conn.execute(update_table(users).where(users.c.name == name).values(values)).rowcount == 1


def set_disabled(conn: Connection, *, name: str, disabled: bool, now: int) -> bool:
    """Disable or enable; False when there is no such user. Disabling again keeps the first time."""
    access_changes.note(conn, AccessChange.RIGHTS)
    disabled_at = func.coalesce(users.c.disabled_at, now) if disabled else None
    statement = (
        update_table(users).where(users.c.name == name).values(disabled_at=disabled_at, updated_at=now)
    )
    return conn.execute(statement).rowcount == 1


def delete(conn: Connection, *, name: str) -> bool:
    """Delete the user with all invites and web sessions; False when there is no such user."""
    access_changes.note(conn, AccessChange.RIGHTS)
    return conn.execute(delete_from(users).where(users.c.name == name)).rowcount == 1


_NO_FAILURES: Mapping[str, object] = {"failed_logins": 0, "last_failed_at": None, "locked_until": None}


def count_login_attempt(
    conn: Connection, *, name: str, max_attempts: int, lock_ms: int, now: int
) -> LoginAttempt | None:
    """Count one attempt ahead of the password check; None when there is no such user.

    The attempt that reaches `max_attempts` is still allowed and locks the name for `lock_ms`; until then
    every further one is refused without being counted. The count starts again after a lock has passed, and
    when the last failure is `lock_ms` old. After the right password call `clear_failed_logins`.
    """
    last = users.c.last_failed_at
    starts_afresh = or_(users.c.locked_until <= now, last.is_(None), last <= now - lock_ms)
    attempts = case((starts_afresh, 1), else_=users.c.failed_logins + 1)
    not_locked = or_(users.c.locked_until.is_(None), users.c.locked_until <= now)
    statement = (
        update_table(users)
        .where(and_(users.c.name == name, not_locked))
        .values(
            failed_logins=attempts,
            last_failed_at=now,
            locked_until=case((attempts >= max_attempts, now + lock_ms), else_=None),
        )
        .returning(users.c.failed_logins, users.c.locked_until)
    )
    counted = conn.execute(statement).first()
    if counted is not None:
        return LoginAttempt(allowed=True, attempts=counted.failed_logins, locked_until=counted.locked_until)
    row = get(conn, name=name)
    if row is None:
        return None
    return LoginAttempt(allowed=False, attempts=row.failed_logins, locked_until=row.locked_until)


def give_back_login_attempt(conn: Connection, *, name: str) -> bool:
    """Take back one counted attempt that proved right, without forgetting the wrong ones before it.

    Who knows a password and not the second factor must not start the count afresh with it. False when there is no
    such user, or nothing is counted.
    """
    statement = (
        update_table(users)
        .where(users.c.name == name, users.c.failed_logins > 0)
        .values(failed_logins=users.c.failed_logins - 1, locked_until=None)
    )
    return conn.execute(statement).rowcount == 1


def lock_row(conn: Connection, *, name: str) -> bool:
    """Make every other transaction that changes this user wait for the end of this one; False without such a user."""
    statement = update_table(users).where(users.c.name == name).values(updated_at=users.c.updated_at)
    return conn.execute(statement).rowcount == 1


def clear_failed_logins(conn: Connection, *, name: str) -> bool:
    """Forget failed logins and a lock, after a success or by an administrator.

    False when there is no such user.
    """
    return conn.execute(update_table(users).where(users.c.name == name).values(_NO_FAILURES)).rowcount == 1
