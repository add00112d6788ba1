# SPDX-License-Identifier: Apache-2.0
"""Applications: found for each request, listed for those who may use them, and managed by administrators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.core.apps.app import App, AppProtocol
from mezite.core.audit.event_types import EventType
from mezite.core.names import check_node_name
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.access.lock_feed import LockFeed
from mezite.services.app_memory import AppMemory, KnownApp
from mezite.services.apps.registration import (
    INACTIVE,
    AppRegistration,
    AppsDomain,
    changed_fields,
    checked_app,
    did_you_mean,
    valid,
    warnings_about,
)
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage import agents, app_sessions, apps
from mezite.storage.apps import AppRow
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AppCatalog", "RegisteredApp", "app_resource"]

MAX_APPS = 10_000
"""All are in the memory of each hub: some 2 KB each."""


@attrs.frozen(kw_only=True)
class RegisteredApp:
    """What has come of a change."""

    known: KnownApp
    created: bool = False
    warnings: tuple[str, ...] = ()
    """What works in the database and may not in practice, one sentence each."""


def app_resource(app: App) -> Resource:
    """Return what `authorize()` is asked about for `apps.connect`."""
    return Resource(kind="app", name=app.name, labels=app.labels)


class AppCatalog:
    """The applications of the cluster."""

    def __init__(
        self,
        *,
        database: Database,
        memory: AppMemory,
        audit: AuditLog,
        sources: Sources,
        locks: LockFeed,
        domain: AppsDomain,
    ) -> None:
        self._database = database
        self._memory = memory
        self._audit = audit
        self._sources = sources
        self._locks = locks
        self.domain = domain

    async def by_host(self, host: str) -> App | None:
        """Return the application with this public address (lower case, without port), disabled ones too, or None.

        :raises StorageError: the database has been away for ten seconds.
        """
        known = (await self._memory.read()).by_host.get(host)
        return None if known is None else known.app

    async def by_name(self, name: str) -> App:
        """Return an application that users may be let to.

        :raises NotFoundError: there is none of that name, or application access is not active.
        """
        if self.domain.name is None:
            raise NotFoundError(INACTIVE)
        return (await self.get(name)).app

    async def get(self, name: str) -> KnownApp:
        """Return an application with its times. :raises NotFoundError: there is none of that name."""
        by_name = (await self._memory.read()).by_name
        if name not in by_name:
            raise _no_such_app(name, by_name)
        return by_name[name]

    async def list_apps(self) -> list[KnownApp]:
        """Return all applications by name."""
        by_name = (await self._memory.read()).by_name
        return [by_name[name] for name in sorted(by_name)]

    async def visible_to(self, identity: UserIdentity, *, client_address: str) -> list[App]:
        """Return the applications that this user may use, disabled ones too, by name.

        None where application access is not active, whatever was registered while it was.
        """
        if self.domain.name is None:
            return []
        in_browser = AccessContext(
            client_address=client_address, decision_id="", locks=self._locks.current, asks_proof=True
        )
        over_tcp = attrs.evolve(in_browser, asks_proof=False, over_tcp=True)
        seen = []
        for number, known in enumerate(await self.list_apps(), 1):
            app = known.app
            if number % 256 == 0:
                await trio.lowlevel.checkpoint()
            circumstances = over_tcp if app.protocol is AppProtocol.TCP else in_browser
            if authorize(identity, "apps.connect", app_resource(app), circumstances).allowed:
                seen.append(app)
        return seen

    async def register(self, registration: AppRegistration, *, by: str, client_address: str) -> RegisteredApp:
        """Create an application, or replace what is known of the one of that name; it stays enabled or disabled.

        :raises InvalidRequestError: it cannot be so; the message says why and what could.
        :raises ConflictError: another one has its public address, or there are too many.
        """
        app = checked_app(registration, self.domain)
        now, revision = self._sources.now(), self._sources.new_id()

        def store(conn: Connection) -> tuple[AppRow | None, AppRow]:
            before = apps.get(conn, name=app.name, for_update=True)
            if before is None:
                _check_room(conn)
                return None, apps.insert(conn, app=app, revision=revision, now=now)
            kept = before.agent_hostnames if not app.agent_hostnames else app.agent_hostnames
            changed = attrs.evolve(app, agent_hostnames=kept, enabled=before.disabled_at is None)
            after = apps.replace(conn, app=changed, revision=revision, now=now)
            assert after is not None
            if before.public_addr and before.public_addr != after.public_addr:
                app_sessions.revoke_at(conn, host=before.public_addr, now=now)
            return before, after

        try:
            before, after = await self._database.write(store)
        except AlreadyExistsError:
            raise await self._address_taken(app) from None
        known = await self._after_change(after)
        event = EventType.APP_CREATED if before is None else EventType.APP_UPDATED
        changed = () if before is None else changed_fields(before, after)
        if before is None or changed:
            await self._record(event, known.app, by, client_address, changed=changed)
        unknown = await self._unknown_agents(known.app.agent_hostnames)
        warnings = (*warnings_about(known.app, self.domain), *unknown)
        return RegisteredApp(known=known, created=before is None, warnings=warnings)

    async def set_enabled(self, name: str, enabled: bool, *, by: str, client_address: str) -> KnownApp:
        """Enable or disable; what runs on a disabled application is cut. Nothing happens when it is so already.

        :raises NotFoundError: there is none of that name.
        """
        before, after = await self._change(name, partial(attrs.evolve, enabled=enabled))
        known = await self._after_change(after)
        if before.revision != after.revision:
            event = EventType.APP_ENABLED if enabled else EventType.APP_DISABLED
            await self._record(event, known.app, by, client_address)
        return known

    async def add_agent(self, name: str, host_name: str, *, by: str, client_address: str) -> RegisteredApp:
        """Bind one more agent. Nothing happens when it is bound already.

        :raises NotFoundError: there is no such application.
        :raises InvalidRequestError: that is no name of a node, or there are too many agents.
        """
        valid(check_node_name, host_name)

        def bound(app: App) -> App:
            if host_name in app.agent_hostnames:
                return app
            return valid(attrs.evolve, app, agent_hostnames=(*app.agent_hostnames, host_name))

        known = await self._change_agents(name, bound, by, client_address)
        return RegisteredApp(known=known, warnings=await self._unknown_agents((host_name,)))

    async def rm_agent(self, name: str, host_name: str, *, by: str, client_address: str) -> KnownApp:
        """Unbind an agent.

        :raises NotFoundError: there is no such application, or it does not have this agent.
        """

        def unbound(app: App) -> App:
            if host_name not in app.agent_hostnames:
                has = (
                    f"its agents are {', '.join(app.agent_hostnames)}"
                    if app.agent_hostnames
                    else "it has none"
                )
                raise NotFoundError(f"agent {host_name[:64]} does not serve application {app.name}: {has}")
            kept = tuple(each for each in app.agent_hostnames if each != host_name)
            return attrs.evolve(app, agent_hostnames=kept)

        return await self._change_agents(name, unbound, by, client_address)

    async def remove(self, name: str, *, by: str, client_address: str) -> None:
        """Remove an application; what runs on it is cut, and sessions at its host end.

        Else they, and the second factors that were shown for them, would be good at the next application there.

        :raises NotFoundError: there is none of that name.
        """
        app, now = (await self.get(name)).app, self._sources.now()

        def delete(conn: Connection) -> bool:
            if not apps.delete(conn, name=name):
                return False
            app_sessions.revoke_at(conn, host=app.public_addr, now=now)
            return True

        if not await self._database.write(delete):
            raise _no_such_app(name, ())
        await self._memory.refresh()
        await self._record(EventType.APP_DELETED, app, by, client_address)

    async def _change(self, name: str, change: Callable[[App], App]) -> tuple[AppRow, AppRow]:
        now, revision = self._sources.now(), self._sources.new_id()

        def store(conn: Connection) -> tuple[AppRow, AppRow] | None:
            before = apps.get(conn, name=name, for_update=True)
            if before is None:
                return None
            app = before.app()
            changed = change(app)
            if changed == app:
                return before, before
            after = apps.replace(conn, app=changed, revision=revision, now=now)
            assert after is not None
            return before, after

        stored = await self._database.write(store)
        if stored is None:
            raise _no_such_app(name, (await self._memory.read()).by_name)
        return stored

    async def _change_agents(
        self, name: str, change: Callable[[App], App], by: str, client_address: str
    ) -> KnownApp:
        before, after = await self._change(name, change)
        known = await self._after_change(after)
        if before.revision != after.revision:
            changed = ("agent_hostnames",)
            await self._record(EventType.APP_UPDATED, known.app, by, client_address, changed=changed)
        return known

    async def _after_change(self, row: AppRow) -> KnownApp:
        """What this hub has changed counts here at once; elsewhere it takes up to two seconds."""
        await self._memory.refresh()
        return KnownApp(
            app=row.app(), revision=row.revision, created_at=row.created_at, updated_at=row.updated_at
        )

    async def _address_taken(self, app: App) -> ConflictError:
        holder = (await self._memory.refresh()).by_host.get(app.public_addr)
        if holder is None:
            return ConflictError(f"application {app.name} was changed at the same moment: try again")
        return ConflictError(
            f"the public address {app.public_addr} belongs to application {holder.app.name}: choose another, or remove "
            "that application first"
        )

    async def _unknown_agents(self, host_names: Iterable[str]) -> tuple[str, ...]:
        wanted = tuple(host_names)
        found = {row.node_name for row in await self._database.read(agents.get_by_names, node_names=wanted)}
        missing = [host_name for host_name in wanted if host_name not in found]
        if not missing:
            return ()
        nodes = [row.node_name for row in await self._database.read(agents.list_all)]
        return tuple(
            f"no node is called {host_name} yet{did_you_mean(host_name, nodes)}; `mezctl nodes ls` shows the nodes"
            for host_name in missing
        )

    async def _record(
        self,
        event: EventType,
        app: App,
        by: str,
        client_address: str,
        *,
        changed: tuple[str, ...] = (),
    ) -> None:
        details: dict[str, object] = {"changed": changed} if changed else {}
        await self._audit.emit(
            event,
            user_name=by,
            resource_type="app",
            resource_name=app.name,
            resource_labels=app.labels,
            client_ip=client_address,
            uri=app.uri,
            public_addr=app.public_addr,
            protocol=app.protocol.value,
            agent_hostnames=app.agent_hostnames,
            insecure_skip_verify=app.options.insecure_skip_verify,
            **details,
        )


def _check_room(conn: Connection) -> None:
    if apps.count(conn) >= MAX_APPS:
        raise ConflictError(f"there are {MAX_APPS} applications: remove one that is not used")


def _no_such_app(name: str, names: Iterable[str]) -> NotFoundError:
    return NotFoundError(
        f"application {name[:64]} does not exist{did_you_mean(name, names)}; `mezctl apps ls` shows the applications"
    )
