# SPDX-License-Identifier: Apache-2.0
"""The locks that are in force, as this hub knows them: a value at hand for every decision."""

from __future__ import annotations

from mezite.core.rbac.locks import NO_LOCKS, LockSet
from mezite.services.sources import Sources
from mezite.storage import locks
from mezite.storage.database import Database
from mezite.storage.locks import LockRow

__all__ = ["LockFeed"]


class LockFeed:
    """Reads locks from the database; `current` is what was read last, without those whose time is over."""

    def __init__(self, *, database: Database, sources: Sources) -> None:
        self._database = database
        self._sources = sources
        self._rows: list[LockRow] = []
        self._current = NO_LOCKS
        self._next_end: int | None = None

    @property
    def current(self) -> LockSet:
        """The locks that are in force now."""
        if self._next_end is not None and self._next_end <= self._sources.now():
            self.replace(self._rows)
        return self._current

    async def refresh(self) -> None:
        """Read again."""
        self.replace(await self._database.read(locks.list_in_force, now=self._sources.now()))

    def replace(self, rows: list[LockRow]) -> None:
        """These are the locks, the oldest first."""
        now = self._sources.now()
        self._rows = [row for row in rows if row.expires_at is None or row.expires_at > now]
        self._current = LockSet(row.lock() for row in self._rows)
        self._next_end = min((row.expires_at for row in self._rows if row.expires_at), default=None)
