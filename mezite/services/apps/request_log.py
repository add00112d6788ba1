# SPDX-License-Identifier: Apache-2.0
"""The record of every request that was forwarded to an application: `app.request` (threat H7).

A request does not wait for the disk: it leaves its record here, and one task writes what has come together, up to 500
records in one transaction, in the hub's one chain of events. Nothing is ever dropped to keep up. While the
database is slow, or refuses, records stay here and are tried again; once WAITING of them do, each further request waits
at its end until there is room, and so does whatever would follow it on its connection.

At shutdown everything is written before the hub ends. A hub that is killed loses what was not committed: at most
WAITING requests that had been answered, besides those that were just waiting at their end. On a healthy disk those are
the requests of a tenth of a second.
"""

from __future__ import annotations

import logging
import math
from collections import deque
from typing import Final, NoReturn

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import GROUP, AuditLog, AuditUnavailableError, Occurrence
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources

__all__ = ["WAITING", "AppRequest", "AppRequestLog"]

_log = logging.getLogger("mezite.hub")

WAITING: Final = 1000
"""Records that may wait before requests do: two transactions, so that one fills while the other is written."""

RETRY_SECONDS: Final = 1
"""Between two attempts at a database that refuses."""

PACE_SECONDS: Final = 0.1
"""From the beginning of one transaction to that of the next, unless that is full: a record alone costs 2.3 ms of the
processor and one of a hundred 0.3 ms (measured), and a transaction keeps requests from their turn at it."""

MAX_PATH: Final = 2048
"""Characters of a path that are kept: longer ones are attacks or tokens, and a line of the log has to stay readable."""


@attrs.frozen(kw_only=True)
class AppRequest:
    """One request that was forwarded, at its end."""

    app: App
    identity: UserIdentity | None
    """Who asked; None for a preflight, which browsers send without any cookie."""
    client_address: str
    """`ip:port`."""
    method: str
    target: str
    """As it was in the request line; what is behind `?` is not recorded, because that is where secrets are put."""
    status: int
    """What the client got; 101 for a WebSocket, 0 when the client had gone before there was an answer."""
    bytes_sent: int
    """To the client, bodies only; of a WebSocket, everything after the 101."""
    bytes_received: int
    duration_ms: int
    agent: str = ""
    """The node whose agent carried it; empty when none could be reached."""
    trace_id: str = ""
    session_id: str = ""
    decision_id: str = ""
    error: str = ""
    """Why the request failed on its way; empty when the application has answered, whatever it said."""


class AppRequestLog:
    """Writes the records of one hub. `run` must be running."""

    def __init__(self, *, audit: AuditLog, sources: Sources) -> None:
        self._audit = audit
        self._sources = sources
        # Bounded by WAITING and the number of connections: each has one request, which waits until there is room.
        self._pending: deque[Occurrence] = deque()
        self._arrived = 0
        self._written = 0
        self._arrival = trio.Event()
        self._hurry = trio.Event()
        self._progress = trio.Event()

    @property
    def waiting(self) -> int:
        """How many records are not committed yet."""
        return self._arrived - self._written

    async def record(self, request: AppRequest) -> None:
        """Leave a record; returns at once while there is room, and otherwise when there is.

        The record is safe from the call on, also when waiting for room is cancelled.
        """
        self._pending.append(_occurrence(request, self._sources.now()))
        self._arrived += 1
        number = self._arrived
        self._arrival.set()
        if len(self._pending) >= GROUP:
            self._hurry.set()
        while number - self._written > WAITING:
            await self._progress.wait()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Write for ever. Cancel it when `flush` has returned: what it was writing may be recorded or not."""
        task_status.started()
        failing = False
        next_at = -math.inf
        while True:
            await self._wait_for_group(next_at)
            next_at = trio.current_time() + PACE_SECONDS
            group = [self._pending[index] for index in range(min(GROUP, len(self._pending)))]
            try:
                await self._audit.emit_together(group)
            except AuditUnavailableError as error:
                if not failing:
                    _log.error(
                        "requests to applications cannot be recorded; they are kept and tried again",
                        extra={"waiting": self.waiting, "reason": str(error)},
                    )
                failing = True
                await trio.sleep(RETRY_SECONDS)
                continue
            failing = False
            for _ in group:
                self._pending.popleft()
            self._written += len(group)
            self._progress.set()
            self._progress = trio.Event()

    async def _wait_for_group(self, next_at: float) -> None:
        """Until there is something to write, and it is time for it or enough."""
        if not self._pending:
            self._arrival = trio.Event()
            await self._arrival.wait()
        if len(self._pending) < GROUP:
            with trio.move_on_at(next_at):
                await self._hurry.wait()
        self._hurry = trio.Event()

    async def flush(self) -> None:
        """Wait until all records that are here now are committed; without end while the database refuses."""
        number = self._arrived
        while self._written < number:
            self._hurry.set()
            await self._progress.wait()


def _occurrence(request: AppRequest, now: int) -> Occurrence:
    identity, app = request.identity, request.app
    fields: dict[str, object] = {
        "user_name": "" if identity is None else identity.name,
        "user_roles": () if identity is None else identity.roles,
        "resource_type": "app",
        "resource_name": app.name,
        "resource_labels": app.labels,
        "server_hostname": request.agent,
        "client_ip": request.client_address,
        "session_id": request.session_id,
        "decision_id": request.decision_id,
        "success": not request.error,
        "error_message": request.error,
        "app": app.name,
        "agent": request.agent,
        "method": request.method,
        "path": _path(request.target),
        "status": request.status,
        "bytes_sent": request.bytes_sent,
        "bytes_received": request.bytes_received,
        "duration_ms": request.duration_ms,
        "trace_id": request.trace_id,
    }
    return Occurrence(EventType.APP_REQUEST, now, fields)


def _path(target: str) -> str:
    """Without query and fragment, and cut where it is too long, which a `…` then shows."""
    path = target.partition("?")[0].partition("#")[0]
    return path if len(path) <= MAX_PATH else f"{path[:MAX_PATH]}…"
