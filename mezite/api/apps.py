# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AppService`."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from mezite.api.pb.mezite.v1 import apps_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.core.apps.app import AppOptions
from mezite.services.app_memory import KnownApp
from mezite.services.apps.catalog import AppCatalog, RegisteredApp
from mezite.services.apps.launcher import AppLauncher
from mezite.services.apps.registration import AppRegistration, valid
from mezite.services.apps.status import AppView

__all__ = ["AppsApi"]

_SERVICE = "/mezite.v1.AppService/"


@attrs.frozen(kw_only=True)
class AppsApi:
    """The RPCs of one service."""

    catalog: AppCatalog
    launcher: AppLauncher

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        register = unary(_SERVICE + "RegisterApp", pb.RegisterAppRequest, pb.AppChangeResponse)
        listing = unary(_SERVICE + "ListApps", pb.ListAppsRequest, pb.ListAppsResponse)
        get = unary(_SERVICE + "GetApp", pb.GetAppRequest, pb.App)
        add = unary(_SERVICE + "AddAppAgent", pb.AddAppAgentRequest, pb.AppChangeResponse)
        rm = unary(_SERVICE + "RemoveAppAgent", pb.RemoveAppAgentRequest, pb.AppChangeResponse)
        enable = unary(_SERVICE + "SetAppEnabled", pb.SetAppEnabledRequest, pb.AppChangeResponse)
        remove = unary(_SERVICE + "RemoveApp", pb.RemoveAppRequest, pb.RemoveAppResponse)
        own = unary(_SERVICE + "ListUserApps", pb.ListUserAppsRequest, pb.ListUserAppsResponse)
        return [
            register(self.register, "apps.register", "app"),
            listing(self.list_apps, "apps.list", "app"),
            get(self.get, "apps.get", "app"),
            add(self.add_agent, "apps.update", "app"),
            rm(self.remove_agent, "apps.update", "app"),
            enable(self.set_enabled, "apps.update", "app"),
            remove(self.remove, "apps.remove", "app"),
            own(self.list_user_apps, "self.apps.list", "app"),
        ]

    async def register(self, request: pb.RegisterAppRequest, context: CallContext) -> pb.AppChangeResponse:
        """Create or change an application."""
        options = request.options
        registration = AppRegistration(
            name=request.name,
            uri=request.uri,
            public_addr=request.public_addr,
            labels=dict(request.labels),
            protocol=request.protocol,
            agent_hostnames=tuple(request.agent_hostnames),
            options=valid(
                AppOptions,
                cors_origins=tuple(options.cors_origins),
                ca_pem=options.ca_pem,
                insecure_skip_verify=options.insecure_skip_verify,
                request_headers=dict(options.request_headers),
                response_headers=dict(options.response_headers),
                max_body=options.max_body,
                rewrite_location=options.rewrite_location,
                http1_only=options.http1_only,
                health_path=options.health_path,
                health_interval=options.health_interval_seconds,
            ),
        )
        registered = await self.catalog.register(registration, **_caller(context))
        return await self._changed(registered.known, registered)

    async def list_apps(self, _request: pb.ListAppsRequest, _context: CallContext) -> pb.ListAppsResponse:
        """All applications."""
        return pb.ListAppsResponse(apps=await self._messages(await self.catalog.list_apps()))

    async def get(self, request: pb.GetAppRequest, _context: CallContext) -> pb.App:
        """One application."""
        return (await self._messages([await self.catalog.get(request.name)]))[0]

    async def add_agent(self, request: pb.AddAppAgentRequest, context: CallContext) -> pb.AppChangeResponse:
        """Bind one more agent."""
        added = await self.catalog.add_agent(request.name, request.agent_hostname, **_caller(context))
        return await self._changed(added.known, added)

    async def remove_agent(
        self, request: pb.RemoveAppAgentRequest, context: CallContext
    ) -> pb.AppChangeResponse:
        """Unbind an agent."""
        return await self._changed(
            await self.catalog.rm_agent(request.name, request.agent_hostname, **_caller(context))
        )

    async def set_enabled(
        self, request: pb.SetAppEnabledRequest, context: CallContext
    ) -> pb.AppChangeResponse:
        """Enable or disable."""
        return await self._changed(
            await self.catalog.set_enabled(request.name, request.enabled, **_caller(context))
        )

    async def remove(self, request: pb.RemoveAppRequest, context: CallContext) -> pb.RemoveAppResponse:
        """Remove an application."""
        await self.catalog.remove(request.name, **_caller(context))
        return pb.RemoveAppResponse()

    async def list_user_apps(
        self, _request: pb.ListUserAppsRequest, context: CallContext
    ) -> pb.ListUserAppsResponse:
        """What the caller may use."""
        tiles = await self.launcher.tiles(user_of(context), client_address=context.peer.client_address)
        return pb.ListUserAppsResponse(
            apps=[
                pb.UserApp(
                    name=tile.app.name,
                    protocol=tile.app.protocol.value,
                    url=tile.url,
                    labels=dict(tile.app.labels),
                    status=tile.state.value,
                    health=tile.health or "",
                )
                for tile in tiles
            ]
        )

    async def _changed(
        self, known: KnownApp, registered: RegisteredApp | None = None
    ) -> pb.AppChangeResponse:
        (message,) = await self._messages([known])
        if registered is None:
            return pb.AppChangeResponse(app=message)
        return pb.AppChangeResponse(app=message, created=registered.created, warnings=registered.warnings)

    async def _messages(self, known: Sequence[KnownApp]) -> list[pb.App]:
        views = await self.launcher.status.views(each.app for each in known)
        return [_message(each, view) for each, view in zip(known, views, strict=True)]


def _caller(context: CallContext) -> dict[str, str]:
    return {"by": user_of(context).name, "client_address": context.peer.client_address}


def _message(known: KnownApp, view: AppView) -> pb.App:
    app = known.app
    options = app.options
    return pb.App(
        name=app.name,
        uri=app.uri,
        public_addr=app.public_addr,
        labels=dict(app.labels),
        protocol=app.protocol.value,
        enabled=app.enabled,
        status=view.state.value,
        agents=[_agent(name, view) for name in app.agent_hostnames],
        options=pb.AppOptions(
            cors_origins=options.cors_origins,
            ca_pem=options.ca_pem,
            insecure_skip_verify=options.insecure_skip_verify,
            request_headers=dict(options.request_headers),
            response_headers=dict(options.response_headers),
            max_body=options.max_body,
            rewrite_location=options.rewrite_location,
            http1_only=options.http1_only,
            health_path=options.health_path,
            health_interval_seconds=options.health_seconds,
        ),
        created_at_ms=known.created_at,
        updated_at_ms=known.updated_at,
        health=view.overall_health or "",
    )


def _agent(name: str, view: AppView) -> pb.AppAgent:
    agent = pb.AppAgent(hostname=name, status=view.agents[name].value)
    health = view.health.get(name)
    if health is not None:
        agent.health = health.state.value
        agent.health_since_ms = health.since or 0
        agent.health_reason = health.reason
    return agent
