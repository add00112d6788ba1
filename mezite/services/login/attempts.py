# SPDX-License-Identifier: Apache-2.0
"""How often a name may be tried, and the counting of it ahead of each try."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mezite.core.names import InvalidNameError, check_user_name
from mezite.storage import users
from mezite.storage.database import Database
from mezite.storage.users import LoginAttempt, UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LOCK_MS", "MAX_ATTEMPTS", "count_attempt"]

MAX_ATTEMPTS = 5
LOCK_MS = 30 * 60 * 1000
"""Five tries, then half an hour: 240 guesses a day against a name, whatever number of addresses they come from."""


async def count_attempt(
    database: Database, name: str, *, now: int
) -> tuple[UserRow | None, LoginAttempt | None]:
    """Count an attempt of that name before what was shown is looked at; return the user, if there is one.

    What cannot be a user's name is not asked of the database: it may not even be storable there.
    """
    try:
        check_user_name(name)
    except InvalidNameError:
        return None, None
    return await database.write(_count, name, now)


def _count(conn: Connection, name: str, now: int) -> tuple[UserRow | None, LoginAttempt | None]:
    attempt = users.count_login_attempt(conn, name=name, max_attempts=MAX_ATTEMPTS, lock_ms=LOCK_MS, now=now)
    return users.get(conn, name=name), attempt
