# SPDX-License-Identifier: Apache-2.0
"""What is over and of no use to anybody is deleted, so that tables do not grow for ever (threat D15).

The audit log has what was; nothing here is asked for a decision any more.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.services.sources import Sources
from mezite.storage import access_requests, invites, live_connections, locks, web_sessions
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Housekeeping"]

_log = logging.getLogger("mezite.housekeeping")

EVERY_SECONDS = 3600
"""Of what is deleted here a busy cluster makes some thousand rows an hour."""

KEPT_MS = 30 * 24 * 3600 * 1000
"""A month: access requests and locks that are over, for whoever looks into an incident; invites, which say then that
they were used or have expired rather than that nobody knows them."""


@attrs.frozen(kw_only=True)
class Housekeeping:
    """Of one cluster, done by each of its hubs; twice does no harm."""

    database: Database
    sources: Sources

    async def sweep(self) -> int:
        """Delete what is over; return how many rows. :raises StorageError: nothing was deleted."""
        now = self.sources.now()

        def delete(conn: Connection) -> int:
            return (
                web_sessions.delete_stale(conn, before=now)
                + invites.delete_stale(conn, before=now - KEPT_MS)
                + access_requests.delete_closed(conn, before=now - KEPT_MS)
                + locks.delete_stale(conn, before=now - KEPT_MS)
                + live_connections.delete_stale(conn)
            )

        return await self.database.write(delete)

    async def run(self) -> NoReturn:
        """Sweep now and every hour, until cancelled. A database that is away is asked again an hour later."""
        while True:
            try:
                rows = await self.sweep()
                _log.info("deleted what is over", extra={"rows": rows})
            except StorageError as error:
                _log.warning("cannot delete what is over", extra={"reason": str(error)})
            await trio.sleep(EVERY_SECONDS)
