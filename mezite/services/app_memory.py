# SPDX-License-Identifier: Apache-2.0
"""All applications in memory: somebody asks for one with each request (threat D22: by its name or host, nothing else).

Whoever follows changes (`AccessWatch`) says twice a second how many there were. When nobody has for two seconds, asking
reads the database, so a change on another hub counts within that time whatever happens. While the database is away,
what was known last counts as long as locks do.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.core.apps.app import App
from mezite.storage import access_changes, apps
from mezite.storage.access_changes import AccessChange
from mezite.storage.apps import AppRow
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["NOTHING_KNOWN", "AppMemory", "KnownApp", "KnownApps"]

_log = logging.getLogger("mezite.apps")

FRESH_SECONDS = 2
"""What is known longer is compared with the database before it is used."""

KEPT_SECONDS = 10
"""As for locks (`access_watch`): a database that restarts is back before."""


@attrs.frozen(kw_only=True)
class KnownApp:
    """One application with what the database knows besides. Times in ms."""

    app: App
    revision: str
    created_at: int
    updated_at: int


@attrs.frozen(kw_only=True)
class KnownApps:
    """All applications at one time."""

    version: int
    """The count of changes that this is up to."""
    by_name: Mapping[str, KnownApp]
    by_host: Mapping[str, KnownApp]


NOTHING_KNOWN = KnownApps(version=-1, by_name={}, by_host={})


class AppMemory:
    """The applications of the cluster, as this hub knows them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known = NOTHING_KNOWN
        self._checked_at = -math.inf
        self._turn = trio.Lock()

    async def read(self) -> KnownApps:
        """Return what there is, at most two seconds old; from memory, mostly.

        :raises StorageError: the database cannot be read, and could not for ten seconds.
        """
        if trio.current_time() - self._checked_at < FRESH_SECONDS:
            return self._known
        return await self._compare(FRESH_SECONDS)

    async def refresh(self) -> KnownApps:
        """Return what there is now: a change that was made before this call is in it. :raises StorageError:"""
        return await self._compare(0)

    async def follow(self, version: int) -> None:
        """Take note that there were so many changes just now.

        :raises StorageError: the database cannot be read.
        """
        if version == self._known.version:
            self._checked_at = trio.current_time()
        else:
            await self.refresh()

    async def _compare(self, fresh_seconds: float) -> KnownApps:
        async with self._turn:
            now = trio.current_time()
            if now - self._checked_at < fresh_seconds:
                return self._known
            try:
                self._known = await self._database.read(_changed_since, self._known)
            except StorageError:
                if fresh_seconds and now - self._checked_at < KEPT_SECONDS:
                    return self._known
                raise
            self._checked_at = now
            return self._known


def _changed_since(conn: Connection, known: KnownApps) -> KnownApps:
    """Read what has another revision than `known` has: five thousand applications take a while to read."""
    version = access_changes.counts(conn)[AccessChange.APPS]
    if version == known.version:
        return known
    revisions = apps.revisions(conn)
    same = {name: each for name, each in known.by_name.items() if revisions.get(name) == each.revision}
    read = {row.name: _known(row) for row in apps.get_many(conn, names=revisions.keys() - same.keys())}
    by_name = same | {name: each for name, each in read.items() if each is not None}
    by_host = {each.app.public_addr: each for each in by_name.values() if each.app.public_addr}
    return KnownApps(version=version, by_name=by_name, by_host=by_host)


def _known(row: AppRow) -> KnownApp | None:
    """What cannot be read is not served: an option that is not understood may be one that protects."""
    try:
        app = row.app()
    except ValueError as error:
        _log.error(
            "this version cannot read an application, which is left out",
            extra={"app": row.name, "reason": str(error)},
        )
        return None
    return KnownApp(app=app, revision=row.revision, created_at=row.created_at, updated_at=row.updated_at)
