# SPDX-License-Identifier: Apache-2.0
"""The audit log: an event counts as recorded when its commit has returned, and nothing acknowledged is lost.

Events are committed in groups: one task takes all that wait (up to 500), chains their hashes and writes them in one
transaction. A full queue makes the emitters wait, so an overload slows the work down instead of losing its record,
and when the database refuses, so does the action that was to be recorded (threat H7).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.core.audit.event import FIRST_PREV_HASH, AuditEvent, chain_hash, check_details, written
from mezite.core.audit.event_types import EventType
from mezite.services.sources import Sources
from mezite.storage import audit_events
from mezite.storage.audit_events import AuditEventRow, AuditQuery
from mezite.storage.database import Database
from mezite.storage.errors import ConstraintError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["GROUP", "AuditLog", "AuditUnavailableError", "Occurrence"]

GROUP = 500
"""Rows per transaction, about: where the gain of grouping levels off (measured 15 to 20 times single commits)."""

CONFLICTS = 5
"""How often another writer of the same chain may be quicker, on PostgreSQL; it is a person at a terminal. SQLite has
one writer at a time."""

_COMMON = frozenset(
    {
        "user_name",
        "user_roles",
        "resource_type",
        "resource_name",
        "resource_labels",
        "server_hostname",
        "client_ip",
        "session_id",
        "success",
        "error_message",
        "decision_id",
    }
)


class AuditUnavailableError(Exception):
    """The event could not be recorded, so what it was about must not happen."""


@attrs.frozen
class Occurrence:
    """Something that has happened and is recorded a little later."""

    event_type: EventType
    timestamp: int
    """When, in milliseconds since 1970."""
    fields: Mapping[str, object]
    """As `AuditLog.emit` takes them."""


@attrs.frozen
class _Numbered:
    event_id: str
    occurrence: Occurrence


@attrs.define(eq=False)
class _Waiting:
    events: tuple[_Numbered, ...]
    """Recorded together or not at all."""
    done: trio.Event = attrs.field(factory=trio.Event)
    error: Exception | None = None


class AuditLog:
    """Writes and reads one hub's audit events."""

    def __init__(self, *, database: Database, cluster: str, hub_id: str, sources: Sources) -> None:
        self._database = database
        self._cluster = cluster
        self._hub_id = hub_id
        self._sources = sources
        self._queue, self._arrivals = trio.open_memory_channel[_Waiting](512)

    async def emit(self, event_type: EventType, **fields: object) -> str:
        """Record an event and return its id once it is committed.

        The common fields of the contract go by their names; all others are type-specific. `client_ip` may be an
        `ip:port`. Cancelling while waiting leaves the event to be recorded or not.

        :raises AuditUnavailableError: the database did not take it, or the log is closed.
        :raises InvalidEventError: a type-specific field cannot be written.
        """
        (event_id,) = await self.emit_together([Occurrence(event_type, self._sources.now(), fields)])
        return event_id

    async def emit_together(self, occurrences: Sequence[Occurrence]) -> list[str]:
        """Record all of them, in their order and in one transaction, and return their ids; at most GROUP.

        Like `emit`, and with its exceptions: none is recorded then.
        """
        waiting = _Waiting(tuple(_Numbered(self._sources.new_id(), _plain(each)) for each in occurrences))
        # What cannot be written fails here, not in the task that writes for everyone.
        for numbered in waiting.events:
            check_details(_details(numbered.occurrence))
        try:
            await self._queue.send(waiting)
        except trio.BrokenResourceError:
            raise AuditUnavailableError("the audit log has been closed") from None
        await waiting.done.wait()
        if waiting.error is not None:
            raise AuditUnavailableError(
                f"the audit log cannot be written: {waiting.error}"
            ) from waiting.error
        return [numbered.event_id for numbered in waiting.events]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Commit events until cancelled. What still waits then is refused."""
        task_status.started()
        try:
            while True:
                group = [await self._arrivals.receive()]
                events = len(group[0].events)
                while events < GROUP:
                    try:
                        group.append(self._arrivals.receive_nowait())
                    except trio.WouldBlock:
                        break
                    events += len(group[-1].events)
                # Not cut in the middle: a group that was committed is also acknowledged.
                with trio.CancelScope(shield=True):
                    await self._commit(group)
        finally:
            self._release()

    def _release(self) -> None:
        """Nobody will write what still waits: its emitters must not wait for ever."""
        with contextlib.suppress(trio.WouldBlock):
            while True:
                waiting = self._arrivals.receive_nowait()
                waiting.error = AuditUnavailableError("it has been closed")
                waiting.done.set()
        self._arrivals.close()

    async def query(self, wanted: AuditQuery) -> list[str]:
        """Return matching events of all hubs as JSON, newest first."""
        rows = await self._database.read(audit_events.query, wanted=wanted)
        return [row.json for row in rows]

    async def _commit(self, group: list[_Waiting]) -> None:
        for attempt in range(CONFLICTS + 1):
            try:
                await self._database.write(self._append, group)
            except ConstraintError as error:
                if attempt == CONFLICTS:
                    _fail(group, error)
            except StorageError as error:
                _fail(group, error)
                break
            else:
                break
        for waiting in group:
            waiting.done.set()

    def _append(self, conn: Connection, group: list[_Waiting]) -> None:
        """Chain the events behind what is there now.

        The head is read in the transaction that appends, never remembered: a command on this machine (`mezhub
        bootstrap`) may have added to the same chain, and a commit that seemed to fail may have happened (threat I3).
        """
        head = audit_events.last(conn, hub_id=self._hub_id)
        seq, previous = (0, FIRST_PREV_HASH) if head is None else (head.seq, head.hash)
        rows: list[AuditEventRow] = []
        events = (numbered for waiting in group for numbered in waiting.events)
        for number, numbered in enumerate(events, start=seq + 1):
            rows.append(_row(self._event(numbered, number, previous)))
            previous = rows[-1].hash
        audit_events.append_many(conn, rows=rows)

    def _event(self, numbered: _Numbered, seq: int, previous: str) -> AuditEvent:
        occurrence = numbered.occurrence
        common = {name: value for name, value in occurrence.fields.items() if name in _COMMON}
        common["client_ip"] = _host(str(common.get("client_ip", "")))
        return AuditEvent(
            id=numbered.event_id,
            event_type=occurrence.event_type,
            timestamp=occurrence.timestamp,
            cluster_name=self._cluster,
            hub_id=self._hub_id,
            seq=seq,
            prev_hash=previous,
            details=_details(occurrence),  # type: ignore[arg-type]
            **common,  # type: ignore[arg-type]
        )


def _details(occurrence: Occurrence) -> dict[str, object]:
    fields = occurrence.fields.items()
    return {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in fields
        if name not in _COMMON
    }


def _fail(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        waiting.error = error


def _row(event: AuditEvent) -> AuditEventRow:
    text, hashed = written(event)
    return AuditEventRow(
        id=event.id,
        hub_id=event.hub_id,
        seq=event.seq,
        event_type=event.event_type.type_name,
        timestamp=event.timestamp,
        json=text,
        prev_hash=event.prev_hash,
        hash=chain_hash(event.prev_hash, hashed),
        user_name=event.user_name or None,
        resource_type=event.resource_type or None,
        resource_name=event.resource_name or None,
        session_id=event.session_id or None,
        success=event.success,
    )


def _plain(occurrence: Occurrence) -> Occurrence:
    fields = {name: _storable(value) for name, value in occurrence.fields.items()}
    return attrs.evolve(occurrence, fields=fields)


def _storable(value: object) -> object:
    """Replace what peers can send but a database cannot keep: NUL (PostgreSQL) and lone surrogates."""
    if not isinstance(value, str) or (value.isascii() and "\0" not in value):
        return value
    return value.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def _host(address: str) -> str:
    """Cut the port off an `ip:port`; the audit log knows addresses."""
    if address.startswith("[") and address.endswith("]"):
        return address[1:-1]
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdigit() or (":" in host and not host.startswith("[")):
        return address
    return host.strip("[]")
