# SPDX-License-Identifier: Apache-2.0
"""How a hub hears of changes to rights that were made elsewhere: it looks at counters in the database (threat E14)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.services.lock_feed import LockFeed
from mezite.services.sources import Sources
from mezite.storage import access_changes, locks
from mezite.storage.access_changes import AccessChange
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mezite.storage.locks import LockRow

__all__ = ["AccessWatch"]

_log = logging.getLogger("mezite.locks")

LOOK_SECONDS = 0.5
"""A lock reaches every hub in 2 s: half a second until it is seen, the rest for a busy database and for cutting."""


@attrs.define(eq=False, kw_only=True)
class AccessWatch:
    """Keeps the locks of one hub up to date."""

    database: Database
    sources: Sources
    feed: LockFeed
    _seen: Mapping[AccessChange, int] | None = attrs.field(default=None, init=False)

    async def run(self) -> NoReturn:
        """Look every half second, for ever. A database that is away is looked at again."""
        while True:
            try:
                await self.look()
            except StorageError as error:
                _log.warning("cannot look for locks", extra={"reason": str(error)})
            await trio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once, and read what has changed."""
        seen = await self.database.read(access_changes.counts)
        if seen == self._seen:
            return
        now = self.sources.now()

        def read(conn: Connection) -> tuple[Mapping[AccessChange, int], list[LockRow]]:
            return access_changes.counts(conn), locks.list_in_force(conn, now=now)

        self._seen, rows = await self.database.read(read)
        self.feed.replace(rows)
