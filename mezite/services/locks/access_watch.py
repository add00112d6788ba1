# SPDX-License-Identifier: Apache-2.0
"""How a hub hears of changes to rights, wherever they were made, and ends what may not go on (threat E14).

It looks at counters in the database; a change on this hub is looked at in the same moment. First everything that runs
is asked about with the locks of now, from memory; then with the users and roles of now, which have to be read.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.services.access.authorization import Resource
from mezite.services.access.live_access import LiveAccess, LiveEntry, slowest_ms, wait_over
from mezite.services.access.lock_feed import LockFeed
from mezite.services.app_memory import AppMemory
from mezite.services.identity.identities import UserIdentity
from mezite.services.identity.refresh import refresh
from mezite.services.sources import Sources
from mezite.storage import access_changes, locks, node_sessions
from mezite.storage.access_changes import AccessChange
from mezite.storage.database import Database
from mezite.storage.errors import StorageError
from mezite.storage.locks import LockEffect

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mezite.storage.locks import LockRow

__all__ = ["AccessWatch"]

_log = logging.getLogger("mezite.locks")

LOOK_SECONDS = 0.5
"""A lock reaches every hub in 2 s: half a second until it is seen, the rest for a busy database and for cutting."""

STALE_SECONDS = 10
"""From then on a lock may exist that this hub does not know. A database that restarts is back before."""

_STALE = f"this hub has not been able to read locks for {STALE_SECONDS} s, so no session may go on: try again later"

_NOTHING_SEEN = dict.fromkeys(AccessChange, -1)


@attrs.define(eq=False, kw_only=True)
class AccessWatch:
    """Keeps what runs on one hub within the rights of now."""

    database: Database
    sources: Sources
    feed: LockFeed
    live: LiveAccess
    hub_id: str
    strict: bool = True
    """Whether sessions end when locks cannot be read."""
    apps: AppMemory | None = None
    """What is told of changes to applications."""
    _seen: Mapping[AccessChange, int] = attrs.field(factory=lambda: _NOTHING_SEEN, init=False)
    _known_locks: set[str] = attrs.field(factory=set, init=False)
    _unanswered: set[str] = attrs.field(factory=set, init=False)
    """New locks whose makers have not been told what they have cut here."""
    _silent_seconds: int = attrs.field(default=0, init=False)
    _turn: trio.Lock = attrs.field(factory=trio.Lock, init=False)

    async def run(self) -> None:
        """Look every half second, for ever. A database that is away is looked at again."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._count_silence)
            while True:
                try:
                    await self.look()
                except StorageError as error:
                    _log.warning("cannot look for locks", extra={"reason": str(error)})
                except Exception:  # noqa: BLE001 - a look that failed is silence, and that has an end; the hub goes on
                    _log.exception("looking for locks failed")
                cuts = self._take_cuts()
                if cuts:
                    nursery.start_soon(self._report, cuts)
                await trio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once, and cut what may not go on. :raises StorageError: the database could not be read."""
        async with self._turn:
            seen = await self.database.read(access_changes.counts)
            changed = {change for change in AccessChange if seen[change] != self._seen[change]}
            if AccessChange.RIGHTS in changed:
                await self._follow_locks()
            await self._follow_people(changed)
            if AccessChange.ORDERS in changed:
                await self._follow_orders()
            if self.apps is not None:
                await self.apps.follow(seen[AccessChange.APPS])
                if AccessChange.APPS in changed:
                    await self._follow_apps(self.apps)
            self.live.end_expired()
            self._seen = seen
        self._silent_seconds = 0
        self.live.resume()

    async def effect_of(self, lock_id: str) -> LockEffect:
        """Return what a lock has cut here, as soon as that is over."""
        cut = self.live.cut_by(lock_id)
        await wait_over(cut)
        return _effect(cut)

    async def _follow_locks(self) -> None:
        now = self.sources.now()
        rows: list[LockRow] = await self.database.read(locks.list_in_force, now=now)
        self.feed.replace(rows)
        new = {row.id: row.created_at for row in rows if row.id not in self._known_locks}
        if self._seen is not _NOTHING_SEEN:
            self._unanswered.update(new)
        self._known_locks = {row.id for row in rows}
        await self.live.ask_all(self.live.entries(), new_locks=new)

    async def _follow_people(self, changed: set[AccessChange]) -> None:
        """Ask with identities as they are now, where something can have changed since they were read."""
        now = self.sources.now()
        entries = [entry for entry in self.live.entries() if _is_due(entry, changed, now)]
        people = [(entry, entry.identity) for entry in entries if isinstance(entry.identity, UserIdentity)]
        if not people:
            return
        found = await self.database.read(refresh, identities=[identity for _, identity in people], now=now)
        for (entry, _), identity in zip(people, found, strict=True):
            entry.is_fresh = False
            if isinstance(identity, str):
                self.live.end(entry, identity)
            else:
                entry.identity = identity
        await self.live.ask_all(entry for entry, _ in people)

    async def _follow_apps(self, memory: AppMemory) -> None:
        """End what runs on applications that are gone or disabled, and ask about the others by their labels of now."""
        by_name = (await memory.read()).by_name
        entries = [entry for entry in self.live.entries() if entry.verb == "apps.connect"]
        for entry in entries:
            known = by_name.get(entry.resource.name)
            if known is None or not known.app.enabled:
                state = "was removed" if known is None else "is disabled"
                self.live.end(entry, f"application {entry.resource.name} {state}")
            else:
                entry.resource = Resource(kind="app", name=known.app.name, labels=known.app.labels)
        await self.live.ask_all(entry for entry in entries if not entry.reason)

    async def _follow_orders(self) -> None:
        orders = await self.database.read(node_sessions.list_ordered, hub_id=self.hub_id)
        reasons = {row.connection_id: f"ended by {row.kill_by}: {row.kill_reason}" for row in orders}
        for entry in self.live.entries():
            if entry.name in reasons:
                self.live.end(entry, reasons[entry.name])

    def _take_cuts(self) -> dict[str, list[LiveEntry]]:
        """What each lock has cut since the last call; a new one is in it once, though it have cut nothing."""
        unanswered, self._unanswered = self._unanswered, set()
        return {lock_id: [] for lock_id in unanswered} | self.live.take_cuts()

    async def _report(self, cuts: Mapping[str, list[LiveEntry]]) -> None:
        """Write down what locks have cut here, when that is over."""
        await wait_over(entry for entries in cuts.values() for entry in entries)

        def write(conn: Connection) -> None:
            for lock_id, entries in cuts.items():
                locks.add_effect(conn, lock_id=lock_id, hub_id=self.hub_id, effect=_effect(entries))

        for lock_id, entries in cuts.items():
            if not entries:
                continue
            _log.info("lock took effect", extra={"lock_id": lock_id, **attrs.asdict(_effect(entries))})
        try:
            await self.database.write(write)
        except StorageError as error:
            _log.warning("cannot record what a lock has cut", extra={"reason": str(error)})

    async def _count_silence(self) -> None:
        """Count seconds without a look that succeeded. Not by the clock: a process that stood still for a minute has
        not failed to read for a minute.
        """
        while True:
            await trio.sleep(1)
            self._silent_seconds += 1
            if self._silent_seconds == STALE_SECONDS:
                self._locks_are_stale()

    def _locks_are_stale(self) -> None:
        if not self.strict:
            _log.warning("locks cannot be read; sessions go on (auth.locking_mode is best_effort)")
            return
        ended = self.live.suspend(_STALE)
        _log.error("locks cannot be read; sessions were ended", extra={"sessions": ended})


def _is_due(entry: LiveEntry, changed: set[AccessChange], now: int) -> bool:
    if entry.is_fresh or AccessChange.RIGHTS in changed:
        return True
    if not isinstance(entry.identity, UserIdentity):
        return False
    if entry.identity.session_hash and AccessChange.SESSIONS in changed:
        return True
    return 0 < entry.identity.requested.ends_at <= now


def _effect(entries: Iterable[LiveEntry]) -> LockEffect:
    cut = list(entries)
    sessions = sum(entry.kind.is_session for entry in cut)
    return LockEffect(sessions=sessions, connections=len(cut) - sessions, slowest_ms=slowest_ms(cut))
