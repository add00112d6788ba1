# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the objects of one hub: the only place where they are wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import attrs
import trio

from mezite.api.rpc import PeerInfo
from mezite.api.server import ClientOf, GrpcServer
from mezite.config.schema import HubConfig
from mezite.core.client_hello import ClientHello
from mezite.core.h2c import UpgradeRequest
from mezite.core.http1.host_table import HostTable
from mezite.handlers.agent_tunnel import AgentTunnelHandler
from mezite.handlers.app_gate import AppGate
from mezite.handlers.app_http import AppProxy
from mezite.handlers.app_own_pages import AppOwnPages
from mezite.handlers.app_tcp import AppTcpHandler
from mezite.handlers.carried_tunnels import add_web_sockets
from mezite.handlers.ports.tls_router import TlsRouter
from mezite.handlers.ports.tunnel_routes import agent_route, user_route
from mezite.handlers.session_life import new_window_pool
from mezite.handlers.user_ssh import UserSshHandler
from mezite.handlers.user_tunnel import UserTunnelHandler, register_channels
from mezite.handlers.web_front import HostRouter, WebFront, rules_by_host
from mezite.handlers.web_sockets import WebSockets
from mezite.hub.api_server import open_api
from mezite.hub.ground import Ground, open_ground
from mezite.hub.hub_identity import HubTls, served_names, show_configured_keypair
from mezite.hub.services import HubServices, open_services
from mezite.net.accept_loop import Connection
from mezite.net.asgi_types import ASGIApp
from mezite.net.trusted_address import TrustedAddress, TrustedHeader
from mezite.services.access.verb_registry import VerbRegistry
from mezite.services.apps.registration import AppsDomain
from mezite.services.identity.identities import AgentIdentity
from mezite.services.self_probes import Sighting
from mezite.services.sources import Sources
from mezite.storage.password_hasher import PasswordHasher
from mezite.web.app import WebServices, create_app
from mezite.web.diagnostics import create_diagnostics
from mezite.web.probe_notes import ProbeNotes

__all__ = ["Hub", "open_hub"]


@attrs.frozen(kw_only=True)
class Hub:
    """One hub, wired but not yet listening."""

    ground: Ground
    services: HubServices
    tls: HubTls
    verbs: VerbRegistry
    api: GrpcServer
    agent_tunnels: AgentTunnelHandler
    user_tunnels: UserTunnelHandler
    inner_tls: TlsRouter
    """Both kinds of tunnel, for bytes that arrive inside of something else."""
    jump: UserSshHandler
    web: WebFront
    app_proxy: AppProxy
    """Where requests to applications go, once it is known who asks and that they may."""
    diagnostics: WebFront
    client_of: ClientOf | None
    """Whom a gRPC call is from, when a balancer that ends HTTP says so in a header."""

    def saw(self, hello: ClientHello, connection: Connection) -> None:
        """Note a ClientHello that is the hub's own probe."""
        sighting = Sighting(connection.client_address, connection.peer_address)
        self.services.probes.note_protocols(hello.alpn, sighting)

    async def serve_api(
        self,
        stream: trio.abc.Stream,
        client_address: str,
        certificate_der: bytes | None,
        upgrade: UpgradeRequest | None = None,
    ) -> None:
        """Serve the gRPC API on a connection to its own port, where a balancer may speak for the client.

        `upgrade` is its first call, if it began in HTTP/1.1. Inside tunnels nobody speaks for others: there the header
        of `proxy.trusted_ip_header` means nothing.
        """
        peer = PeerInfo(client_address=client_address, certificate_der=certificate_der)
        await self.api.serve_connection(stream, peer, upgrade, client_of=self.client_of)


@asynccontextmanager
async def open_hub(
    config: HubConfig, sources: Sources, passwords: PasswordHasher | None = None
) -> AsyncIterator[Hub]:
    """Open the ground and wire everything upon it; `passwords` as there.

    :raises KeypairError: the certificate of `proxy.tls_mode: file` cannot be used.
    """
    async with open_ground(config, sources, passwords) as ground:
        names, addresses = served_names(config)
        tls = HubTls(
            authorities=ground.authorities,
            hub_id=ground.hub_id,
            names=names,
            addresses=addresses,
            apps_domain=config.proxy.apps_domain,
        )
        show_configured_keypair(tls, config, sources.now())
        yield _wire(config, ground, tls)


def _wire(config: HubConfig, ground: Ground, tls: HubTls) -> Hub:
    services = open_services(config, ground, _apps_domain(config, tls))
    verbs = VerbRegistry()
    register_channels(verbs)
    api = open_api(ground, services, verbs)
    agent_tunnels, user_tunnels = _tunnels(services, verbs, api)
    inner_tls = TlsRouter(
        routes=(
            agent_route(lambda: tls.tunnel, agent_tunnels),
            user_route(lambda: tls.connect, user_tunnels),
        )
    )
    sockets = _with_web_sockets(_web_app(config, ground, services, verbs), ground, services, verbs)
    add_web_sockets(sockets, inner_tls)
    app_proxy = _app_proxy(ground, services)
    return Hub(
        ground=ground,
        services=services,
        tls=tls,
        verbs=verbs,
        api=api,
        agent_tunnels=agent_tunnels,
        user_tunnels=user_tunnels,
        inner_tls=inner_tls,
        jump=UserSshHandler(
            cluster=config.cluster_name,
            authorities=ground.authorities,
            authenticator=services.authenticator,
            access=services.access,
            refusals=services.refusals,
            sources=ground.sources,
            host_identity=tls.ssh_identity,
        ),
        web=_web_front(config, tls, sockets, _app_gate(services, app_proxy)),
        app_proxy=app_proxy,
        diagnostics=WebFront(app=create_diagnostics(ground.database, services.registry)),
        client_of=_client_of(config),
    )


def _apps_domain(config: HubConfig, tls: HubTls) -> AppsDomain:
    shows = config.proxy.enabled and config.proxy.tls_mode != "off"
    return AppsDomain(
        name=config.proxy.apps_domain,
        hub_names=_own_names(config, tls),
        certificate_names=(lambda: tls.apps_names) if shows else None,
    )


def _own_names(config: HubConfig, tls: HubTls) -> frozenset[str]:
    names, _addresses = served_names(config)
    # Not a configured wildcard: its certificate is good for many a site besides this hub.
    given = {name.lower() for name in tls.web_names if not name.startswith("*")}
    return frozenset({*names, *given})


def _tunnels(
    services: HubServices, verbs: VerbRegistry, api: GrpcServer
) -> tuple[AgentTunnelHandler, UserTunnelHandler]:
    async def serve_api(stream: trio.abc.Stream, client_address: str, certificate_der: bytes | None) -> None:
        peer = PeerInfo(client_address=client_address, certificate_der=certificate_der)
        await api.serve_connection(stream, peer)

    async def serve_agent_api(stream: trio.abc.Stream, client_address: str, agent: AgentIdentity) -> None:
        await api.serve_connection(stream, PeerInfo(client_address=client_address, agent=agent))

    windows = new_window_pool()
    agents = AgentTunnelHandler(
        authenticator=services.authenticator,
        registry=services.registry,
        leases=services.leases,
        refusals=services.refusals,
        live=services.live,
        serve_api=serve_agent_api,
        windows=windows,
    )
    users = UserTunnelHandler(
        authenticator=services.authenticator,
        access=services.access,
        apps=AppTcpHandler(access=services.app_access),
        refusals=services.refusals,
        live=services.live,
        serve_api=serve_api,
        verbs=verbs,
        windows=windows,
    )
    return agents, users


def _app_proxy(ground: Ground, services: HubServices) -> AppProxy:
    return AppProxy(
        open=services.app_dialer.open,
        identity_fields=services.assertions.fields,
        record=services.app_requests.record,
        sources=ground.sources,
        shuns=services.app_health.board.shuns,
    )


def _app_gate(services: HubServices, proxy: AppProxy) -> AppGate:
    entry = services.app_entry
    pages = AppOwnPages(logins=entry.logins, sessions=entry.sessions, authenticator=services.authenticator)
    return AppGate(
        app_at=services.apps.by_host,
        forward=proxy.forward,
        pages=pages,
        authenticator=services.authenticator,
        admission=entry.admission,
        sessions=entry.sessions,
        memory=entry.memory,
        live=services.live,
    )


def _client_of(config: HubConfig) -> ClientOf | None:
    header = _trusted_header(config)
    return None if header is None else lambda address, head: header.client_address(address, head.fields)


def _web_front(config: HubConfig, tls: HubTls, app: ASGIApp, applications: ASGIApp) -> WebFront:
    hosts = HostTable(names=_own_names(config, tls), apps_domain=config.proxy.apps_domain)
    by_host = HostRouter(hosts=hosts, hub=app, applications=applications)
    header = _trusted_header(config)
    return WebFront(
        app=by_host if header is None else TrustedAddress(app=by_host, header=header),
        rules_of=rules_by_host(hosts),
    )


def _trusted_header(config: HubConfig) -> TrustedHeader | None:
    name = config.proxy.trusted_ip_header
    return None if name is None else TrustedHeader(name=name, trusted=config.proxy.trusted_ip_header_cidrs)


def _with_web_sockets(app: ASGIApp, ground: Ground, services: HubServices, verbs: VerbRegistry) -> WebSockets:
    return WebSockets(
        app,
        verbs,
        services.authenticator,
        ground.audit,
        ground.sources,
        services.refusals,
        services.live,
    )


def _web_app(config: HubConfig, ground: Ground, services: HubServices, verbs: VerbRegistry) -> ASGIApp:
    app = create_app(
        WebServices(
            authenticator=services.authenticator,
            login=ground.login,
            certificates=services.certificates,
            authorities=ground.authorities,
            audit=ground.audit,
            refusals=services.refusals,
            sources=ground.sources,
            addresses=services.addresses,
            sessions=services.sessions,
            requests=services.requests,
            devices=services.devices,
            factors=services.factors,
            sso=services.sso,
            launcher=services.launcher,
            app_logins=services.app_entry.logins,
            apps_connector=config.proxy.apps_oidc_connector,
        ),
        verbs,
    )
    return ProbeNotes(app=cast("ASGIApp", app), probes=services.probes)
