# SPDX-License-Identifier: Apache-2.0
"""Connections to applications that wait for their next request.

Opening one costs a round trip through the tunnel, another one from the agent to the application, and two more with TLS.
A connection comes here only after a response whose end nobody can doubt, and never after a switch of protocols.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NoReturn

import attrs
import trio

from .app_upstream import UpstreamConnection, is_readable

__all__ = ["PoolLimits", "UpstreamPool"]


@attrs.frozen(kw_only=True)
class PoolLimits:
    """What may wait, and for how long."""

    idle_seconds: float = 4.0
    """Shorter than servers wait for a next request: Node, uvicorn and Apache 5 s, others a minute. A request that meets
    the end of its connection has to be sent again, which not every one may be."""
    risky_idle_seconds: float = 1.0
    """The same for requests that may not be sent again; gunicorn waits for two seconds."""
    per_key: int = 64
    """connections of one application; browsers open six each"""
    total: int = 1024
    """of all; a channel that is idle costs the hub and the agent a few KiB each"""


@attrs.define(eq=False)
class UpstreamPool:
    """Idle connections by what they are good for. ``run`` closes those that nobody asks for."""

    limits: PoolLimits = attrs.field(factory=PoolLimits)
    _idle: dict[Hashable, list[UpstreamConnection]] = attrs.field(factory=dict, init=False)
    _count: int = attrs.field(default=0, init=False)

    def __len__(self) -> int:
        """How many wait."""
        return self._count

    async def take(self, key: Hashable, *, replayable: bool) -> UpstreamConnection | None:
        """Return the connection that was used last, or None.

        What is too old, or has ended meanwhile, is closed on the way. A request that is not ``replayable`` gets only
        one that was used a moment ago.
        """
        limits, now = self.limits, trio.current_time()
        oldest = now - (limits.idle_seconds if replayable else limits.risky_idle_seconds)
        waiting = self._idle.get(key, [])
        found: UpstreamConnection | None = None
        doomed: list[UpstreamConnection] = []
        while waiting and found is None:
            candidate = waiting.pop()
            self._count -= 1
            if candidate.idle_since < oldest or is_readable(candidate.stream):
                doomed.append(candidate)
            else:
                found = candidate
        if not waiting:
            self._idle.pop(key, None)
        if doomed:
            await close_all(doomed)
        return found

    async def give_back(self, key: Hashable, connection: UpstreamConnection) -> None:
        """Keep a connection for its next request, or close it where there are enough."""
        waiting = self._idle.get(key, [])
        if len(waiting) >= self.limits.per_key or self._count >= self.limits.total:
            await close_all([connection])
            return
        connection.idle_since = trio.current_time()
        waiting.append(connection)
        self._idle[key] = waiting
        self._count += 1

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> NoReturn:
        """Close what has waited for too long, every second; at the end, everything."""
        task_status.started()
        try:
            while True:
                await trio.sleep(1)
                await close_all(self._forget_older_than(trio.current_time() - self.limits.idle_seconds))
        finally:
            with trio.CancelScope(shield=True):
                await close_all(self._forget_older_than(trio.current_time() + 1))

    def _forget_older_than(self, oldest: float) -> list[UpstreamConnection]:
        doomed: list[UpstreamConnection] = []
        for key, waiting in list(self._idle.items()):
            kept = [each for each in waiting if each.idle_since >= oldest and not is_readable(each.stream)]
            doomed += [each for each in waiting if each not in kept]
            if kept:
                self._idle[key] = kept
            else:
                del self._idle[key]
        self._count -= len(doomed)
        return doomed


async def close_all(connections: list[UpstreamConnection]) -> None:
    """Close them without waiting for anybody; all of them, also when cancelled."""
    with trio.CancelScope(shield=True):
        for connection in connections:
            await trio.aclose_forcefully(connection.stream)
