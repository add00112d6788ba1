# SPDX-License-Identifier: Apache-2.0
"""What runs on this hub on somebody's behalf, and can be ended when it may not go on (threat E14).

Whatever lasts longer than a request holds an entry for exactly that long: an SSH connection, a WebSocket, a tunnel.
Calls and requests are asked about one by one, and take two minutes at most. The entry knows what was asked of
`authorize()`, so it can be asked again with the rights of now.
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import attrs
import trio

from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.access.lock_feed import LockFeed
from mezite.services.identity.identities import Identity
from mezite.services.sources import Sources

__all__ = ["LiveAccess", "LiveEntry", "LiveKind"]

_log = logging.getLogger("mezite.locks")

GRACE_SECONDS = 0.2
"""What a peer that has been told gets to leave by itself; then its task is cancelled."""

OVER_SECONDS = 5
"""How long is waited for what was cut before it is counted as slow as this."""


class LiveKind(enum.Enum):
    """What an entry stands for."""

    SSH = "ssh"
    WEBSOCKET = "websocket"
    APP = "application"
    """A request, a WebSocket or a connection that goes on to an application."""
    USER_TUNNEL = "user tunnel"
    AGENT_TUNNEL = "agent tunnel"

    @property
    def is_session(self) -> bool:
        """Something a person uses, and not what merely carries it."""
        return self in (LiveKind.SSH, LiveKind.WEBSOCKET, LiveKind.APP)


def _nothing_to_say(_reason: str) -> None:
    """The peer learns it from the end of its connection."""


@attrs.define(eq=False, kw_only=True)
class LiveEntry:
    """One thing that runs."""

    kind: LiveKind
    identity: Identity
    verb: str
    resource: Resource
    context: AccessContext
    name: str = ""
    """By which it can be ended alone: the id of an SSH connection."""
    ends_at: int | None = None
    """When it ends whatever happens, milliseconds since 1970; None: never."""
    say_why: Callable[[str], None] = _nothing_to_say
    """Tells the peer the reason, without waiting; what it holds begins to end by that."""
    reason: str = attrs.field(default="", init=False)
    """Why it was cut; empty while it may go on."""
    lock_id: str = attrs.field(default="", init=False)
    cut_since: int = attrs.field(default=0, init=False)
    """When what it was cut for came about, milliseconds since 1970."""
    is_fresh: bool = attrs.field(default=True, init=False)
    """Its identity was not compared with the database since it began."""
    over: trio.Event = attrs.field(factory=trio.Event, init=False)
    over_at: int = attrs.field(default=0, init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)

    def cut(self, reason: str) -> None:
        """End it: the peer is told, and the block that holds it is cancelled soon. Only the first reason counts."""
        if self.reason:
            return
        self.reason = reason
        patient = self.say_why is not _nothing_to_say
        self._scope.deadline = trio.current_time() + GRACE_SECONDS if patient else -math.inf
        self.say_why(reason)

    @contextmanager
    def running(self) -> Iterator[None]:
        """The block is cancelled when this is cut; then the block ends, and `reason` says why."""
        with self._scope:
            yield


class LiveAccess:
    """Everything that runs on one hub."""

    def __init__(self, *, feed: LockFeed, sources: Sources) -> None:
        self._feed = feed
        self._sources = sources
        self._entries: dict[int, LiveEntry] = {}
        self._cut_by_lock: dict[str, list[LiveEntry]] = {}
        self.suspended = ""
        """Why no session may run at all: this hub does not know what is locked."""

    @contextmanager
    def hold(self, entry: LiveEntry) -> Iterator[LiveEntry]:
        """Run the block until it ends or `entry` is cut; a cut is no exception: look at `entry.reason`.

        It is asked about here once more: a lock that came between the decision and now has not seen this entry.
        """
        self._entries[id(entry)] = entry
        try:
            self.ask(entry)
            with entry.running():
                yield entry
        finally:
            del self._entries[id(entry)]
            entry.over_at = self._sources.now()
            entry.over.set()

    def entries(self) -> list[LiveEntry]:
        """Return all that runs and was not cut."""
        return [entry for entry in self._entries.values() if not entry.reason]

    def ask(self, entry: LiveEntry, *, new_locks: dict[str, int] | None = None) -> bool:
        """Decide again, with the locks of now; cut the entry and return False when it may not go on.

        `new_locks` are those that have just come, with the time of their making.
        """
        if self.suspended and entry.kind is not LiveKind.AGENT_TUNNEL:
            entry.cut(self.suspended)
            return False
        context, locks = entry.context, self._feed.current
        if context.locks is not locks:
            context = attrs.evolve(context, locks=locks)
        decision = authorize(entry.identity, entry.verb, entry.resource, context)
        if decision.allowed:
            return True
        if not entry.reason:
            entry.cut_since = (new_locks or {}).get(decision.lock_id, self._sources.now())
            entry.lock_id = decision.lock_id
            if decision.lock_id:
                self._cut_by_lock.setdefault(decision.lock_id, []).append(entry)
            entry.cut(decision.reason)
            self._tell(entry)
        return False

    async def ask_all(self, entries: Iterable[LiveEntry], *, new_locks: dict[str, int] | None = None) -> None:
        """Ask about each, letting other tasks run in between."""
        for number, entry in enumerate(entries):
            self.ask(entry, new_locks=new_locks)
            if number % 64 == 63:
                await trio.lowlevel.checkpoint()

    def end(self, entry: LiveEntry, reason: str) -> None:
        """Cut one entry for a reason of its own."""
        entry.cut_since = self._sources.now()
        entry.cut(reason)
        self._tell(entry)

    def end_expired(self) -> None:
        """Cut what has reached its end."""
        now = self._sources.now()
        for entry in self.entries():
            if entry.ends_at is not None and entry.ends_at <= now:
                self.end(entry, "the session has reached its end: log in again")

    def suspend(self, reason: str) -> int:
        """Cut all sessions and let none begin, until `resume`; return how many were cut."""
        self.suspended = reason
        victims = [entry for entry in self.entries() if entry.kind is not LiveKind.AGENT_TUNNEL]
        for entry in victims:
            self.end(entry, reason)
        return len(victims)

    def resume(self) -> None:
        """Sessions may begin again."""
        self.suspended = ""

    def cut_by(self, lock_id: str) -> list[LiveEntry]:
        """Return what a lock has cut and `take_cuts` has not been told of yet."""
        return list(self._cut_by_lock.get(lock_id, ()))

    def take_cuts(self) -> dict[str, list[LiveEntry]]:
        """Return what each lock has cut since the last call."""
        taken, self._cut_by_lock = self._cut_by_lock, {}
        return taken

    def _tell(self, entry: LiveEntry) -> None:
        _log.info(
            "cut",
            extra={"kind": entry.kind.value, "client": entry.context.client_address, "reason": entry.reason},
        )


async def wait_over(entries: Iterable[LiveEntry]) -> None:
    """Wait until all that was cut is over, for 5 s at most."""
    with trio.move_on_after(OVER_SECONDS):
        for entry in entries:
            await entry.over.wait()


def slowest_ms(entries: Iterable[LiveEntry]) -> int:
    """How long the last of them went on after what it was cut for; what is not over counts as 5 s."""
    waits = (
        max(0, entry.over_at - entry.cut_since) if entry.over.is_set() else OVER_SECONDS * 1000
        for entry in entries
    )
    return max(waits, default=0)
