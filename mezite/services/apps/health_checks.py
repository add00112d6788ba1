# SPDX-License-Identifier: Apache-2.0
"""Checks the health of applications for whom an administrator has asked for it, through each agent of this hub.

Only the hub that has an agent's tunnel checks through it. Checks are spread: the first comes a moment after the tunnel,
the next ones after the interval, a tenth shorter or longer. One failed check may be bad luck, so it is repeated after a
second; then it counts. A result goes to the database when it differs from the last one, so that every hub can show it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import NoReturn

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.apps.health import AgentHealth, HealthState, health_key
from mezite.services.app_memory import NOTHING_KNOWN, AppMemory, KnownApps
from mezite.services.apps.health import HealthBoard
from mezite.services.apps.health_probe import HealthProbe
from mezite.services.nodes.tunnel_registry import Tunnel, TunnelRegistry
from mezite.services.sources import Sources
from mezite.storage import app_health
from mezite.storage.app_health import AppHealthRow
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

__all__ = ["AppHealthChecks"]

_log = logging.getLogger("mezite.apps")

TICK_SECONDS = 1
"""How often is looked at what is due: the shortest interval there is."""

FIRST_SECONDS = 2
"""Within which the first check comes: a hub that begins, or an agent of many applications, has them not all at once."""

AGAIN_SECONDS = 1
"""From a check that failed to the one that confirms it."""

AT_ONCE = 32
"""Checks that run at the same moment. They last some milliseconds, or up to ten seconds where nothing answers."""

MAX_REASON = 300
"""Characters of a reason that are kept; parts of it come from the agent and the application."""


@attrs.define(eq=False)
class _Watched:
    """An application through one agent."""

    app: App
    tunnel: Tunnel
    due: float
    running: bool = False
    stored: tuple[HealthState, str] | None = None
    """What the database has, as far as this hub knows."""


@attrs.define(eq=False, kw_only=True)
class AppHealthChecks:
    """The checks of one hub. `run` must be running."""

    memory: AppMemory
    registry: TunnelRegistry
    probe: HealthProbe
    board: HealthBoard
    database: Database
    sources: Sources
    _known: KnownApps = attrs.field(default=NOTHING_KNOWN, init=False)
    _checked: list[App] = attrs.field(factory=list, init=False)
    """Applications whose health is asked for."""
    _watched: dict[tuple[str, str], _Watched] = attrs.field(factory=dict, init=False)
    _slots: trio.Semaphore = attrs.field(factory=lambda: trio.Semaphore(AT_ONCE), init=False)

    async def run(self) -> NoReturn:
        """Check for ever, until cancelled."""
        async with trio.open_nursery() as nursery:
            while True:
                await self._plan()
                now = trio.current_time()
                due = [each for each in self._watched.values() if not each.running and each.due <= now]
                for watched in sorted(due, key=lambda each: each.due):
                    await self._slots.acquire()
                    watched.running = True
                    nursery.start_soon(self._run_check, watched)
                await trio.sleep(TICK_SECONDS)

    # -- what is to be checked

    async def _plan(self) -> None:
        """Begin and end watching as applications and tunnels come and go."""
        try:
            known = await self.memory.read()
        except StorageError:
            return  # What was known is checked on: the database has nothing to do with applications.
        if known is not self._known:
            self._known = known
            apps = (each.app for each in known.by_name.values())
            self._checked = [app for app in apps if app.enabled and app.options.health_seconds]
        if not self._checked and not self._watched:
            return
        wanted = {(app.name, tunnel.node_name): (app, tunnel) for app, tunnel in self._reachable()}
        for key, watched in list(self._watched.items()):
            if key not in wanted or not is_same(watched, *wanted[key]):
                del self._watched[key]
                self.board.forget(*key)
        now = trio.current_time()
        for key, (app, tunnel) in wanted.items():
            if key not in self._watched:
                self._watched[key] = _Watched(app, tunnel, due=now + FIRST_SECONDS * self._fraction())

    def _reachable(self) -> Iterator[tuple[App, Tunnel]]:
        tunnels: Mapping[str, Tunnel] = {tunnel.node_name: tunnel for tunnel in self.registry.tunnels()}
        for app in self._checked:
            for agent in app.agent_hostnames:
                if agent in tunnels:
                    yield app, tunnels[agent]

    def _fraction(self) -> float:
        return int.from_bytes(self.sources.token_bytes(2), "big") / 0x10000

    # -- one check

    async def _run_check(self, watched: _Watched) -> None:
        try:
            await self._check(watched)
        except Exception:  # noqa: BLE001 - the hub goes on, whatever an application has answered
            _log.exception("a health check failed in itself", extra={"app": watched.app.name})
        finally:
            watched.running = False
            interval = watched.app.options.health_seconds
            watched.due = trio.current_time() + interval * (0.9 + 0.2 * self._fraction())
            self._slots.release()

    async def _check(self, watched: _Watched) -> None:
        app, agent = watched.app, watched.tunnel.node_name
        failure = await self.probe.failure(app, watched.tunnel)
        if failure and not self.board.is_unhealthy(app, agent):
            await trio.sleep(AGAIN_SECONDS)
            failure = await self.probe.failure(app, watched.tunnel)
        if failure is None or self._watched.get((app.name, agent)) is not watched:
            return  # The tunnel was in the way, or something has changed meanwhile: it says nothing about now.
        await self._note(watched, printable(failure))

    async def _note(self, watched: _Watched, reason: str) -> None:
        app, agent = watched.app, watched.tunnel.node_name
        state = HealthState.UNHEALTHY if reason else HealthState.HEALTHY
        last = self.board.get(app, agent)
        now = self.sources.now()
        since = now if last is None or last.state is not state or last.since is None else last.since
        self.board.put(app, agent, AgentHealth(state=state, since=since, reason=reason))
        if watched.stored == (state, reason):
            return
        row = AppHealthRow(
            app=app.name, agent=agent, checked=health_key(app), state=state.value, since=now, reason=reason
        )
        try:
            before = await self.database.write(app_health.record, row=row)
        except StorageError as error:
            # With the next check it is tried again.
            _log.warning("cannot store the health of an application", extra={"reason": str(error)})
            return
        watched.stored = (state, reason)
        self._tell(row, before)

    @staticmethod
    def _tell(row: AppHealthRow, before: AppHealthRow | None) -> None:
        """Log a change of the state, once for the whole cluster."""
        was = before.state if before is not None and before.checked == row.checked else None
        if row.state == was:
            return
        if row.state == HealthState.UNHEALTHY:
            extra = {"app": row.app, "agent": row.agent, "reason": row.reason}
            _log.warning("an application is unhealthy", extra=extra)
        elif was is not None:
            _log.info("an application is healthy again", extra={"app": row.app, "agent": row.agent})


def is_same(watched: _Watched, app: App, tunnel: Tunnel) -> bool:
    """Whether what was found out holds for these, too: nothing that a check depends on has changed."""
    return watched.app == app and watched.tunnel is tunnel


def printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:MAX_REASON])
