# SPDX-License-Identifier: Apache-2.0
"""From a configuration to the objects of one hub: the only place where they are wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import attrs

from mezite.api.access import ApiAccess, register_methods
from mezite.api.audit import AuditApi
from mezite.api.auth import AuthApi
from mezite.api.enrollment import EnrollmentApi
from mezite.api.health import HealthService
from mezite.api.nodes import NodesApi
from mezite.api.reflection import reflection_methods
from mezite.api.rpc import RpcMethod
from mezite.api.server import GrpcServer
from mezite.api.tokens import TokensApi
from mezite.api.users import UsersApi
from mezite.config.schema import HubConfig
from mezite.handlers.agent_tunnel import AgentTunnelHandler
from mezite.handlers.user_ssh import UserSshHandler
from mezite.handlers.user_tunnel import UserTunnelHandler, register_channels
from mezite.handlers.web_front import WebFront
from mezite.hub.hub_identity import HubTls, load_hub_id, served_names
from mezite.net.asgi_types import ASGIApp
from mezite.services.accounts import Accounts
from mezite.services.audit_log import AuditLog
from mezite.services.authentication import Authenticator
from mezite.services.certificate_authority import CertificateAuthorities
from mezite.services.enrollment import Enrollment
from mezite.services.live_connections import LiveConnections
from mezite.services.login import LoginService
from mezite.services.node_access import NodeAccess
from mezite.services.node_directory import NodeDirectory
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.services.tunnel_leases import TunnelLeases
from mezite.services.tunnel_registry import TunnelRegistry
from mezite.services.user_certificates import UserCertificateService
from mezite.services.verb_registry import VerbRegistry
from mezite.storage.database import Database
from mezite.storage.password_hasher import PasswordHasher
from mezite.web.app import WebServices, create_app
from mezite.web.diagnostics import create_diagnostics

__all__ = ["Ground", "Hub", "open_ground", "open_hub"]


@attrs.frozen(kw_only=True)
class Ground:
    """What commands on the hub's own machine need as well as the hub itself: database, CAs, accounts."""

    hub_id: str
    sources: Sources
    database: Database
    authorities: CertificateAuthorities
    audit: AuditLog
    login: LoginService
    accounts: Accounts
    enrollment: Enrollment


@attrs.frozen(kw_only=True)
class Hub:
    """One hub, wired but not yet listening."""

    ground: Ground
    registry: TunnelRegistry
    connections: LiveConnections
    leases: TunnelLeases
    verbs: VerbRegistry
    tls: HubTls
    api: GrpcServer
    agent_tunnels: AgentTunnelHandler
    user_tunnels: UserTunnelHandler
    jump: UserSshHandler
    web: WebFront
    diagnostics: WebFront
    addresses: PublicAddresses


@asynccontextmanager
async def open_ground(config: HubConfig, sources: Sources) -> AsyncIterator[Ground]:
    """Open database and CAs. The caller runs `audit.run` before anything that is audited."""
    data_dir = Path(config.data_dir)
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    hub_id = load_hub_id(data_dir, sources)
    async with await Database.open(config.database_url().reveal()) as database:
        authorities = await CertificateAuthorities.open(
            database, cluster=config.cluster_name, passphrase=config.ca_key_passphrase, sources=sources
        )
        audit = AuditLog(database=database, cluster=config.cluster_name, hub_id=hub_id, sources=sources)
        passwords = PasswordHasher()
        login = LoginService(database=database, passwords=passwords, audit=audit, sources=sources)
        yield Ground(
            hub_id=hub_id,
            sources=sources,
            database=database,
            authorities=authorities,
            audit=audit,
            login=login,
            accounts=Accounts(
                database=database, login=login, passwords=passwords, audit=audit, sources=sources
            ),
            enrollment=Enrollment(database=database, authorities=authorities, audit=audit, sources=sources),
        )


@asynccontextmanager
async def open_hub(config: HubConfig, sources: Sources) -> AsyncIterator[Hub]:
    """Wire everything."""
    async with open_ground(config, sources) as ground:
        yield _wire(config, ground)


def _wire(config: HubConfig, ground: Ground) -> Hub:
    database, audit, sources = ground.database, ground.audit, ground.sources
    registry = TunnelRegistry()
    verbs = VerbRegistry()
    addresses = PublicAddresses(None if config.proxy.public_addr is None else str(config.proxy.public_addr))
    connections = LiveConnections(database=database, audit=audit, sources=sources, hub_id=ground.hub_id)
    leases = TunnelLeases(
        database=database, audit=audit, sources=sources, registry=registry, hub_id=ground.hub_id
    )
    access = NodeAccess(
        database=database, audit=audit, sources=sources, registry=registry, connections=connections
    )
    directory = NodeDirectory(database=database, audit=audit, sources=sources, registry=registry)
    certificates = UserCertificateService(
        authorities=ground.authorities, audit=ground.audit, sources=ground.sources
    )
    authenticator = Authenticator(
        database=ground.database, authorities=ground.authorities, sources=ground.sources
    )
    names, ips = served_names(config)
    tls = HubTls(authorities=ground.authorities, hub_id=ground.hub_id, names=names, addresses=ips)
    methods = [
        *AuthApi(
            login=ground.login,
            certificates=certificates,
            authorities=ground.authorities,
            sources=ground.sources,
        ).methods(),
        *EnrollmentApi(
            enrollment=ground.enrollment,
            connections=connections,
            authorities=ground.authorities,
            sources=ground.sources,
        ).methods(),
        *UsersApi(ground.accounts, invite_url=addresses.invite_url).methods(),
        *TokensApi(ground.enrollment).methods(),
        *NodesApi(directory).methods(),
        *AuditApi(ground.audit).methods(),
    ]
    api = _grpc_server(methods, verbs, authenticator, ground)
    register_channels(verbs)
    web = create_app(
        WebServices(
            authenticator=authenticator,
            login=ground.login,
            certificates=certificates,
            authorities=ground.authorities,
            audit=ground.audit,
            sources=ground.sources,
            addresses=addresses,
        ),
        verbs,
    )
    return Hub(
        ground=ground,
        registry=registry,
        connections=connections,
        leases=leases,
        verbs=verbs,
        tls=tls,
        api=api,
        agent_tunnels=AgentTunnelHandler(
            authenticator=authenticator, registry=registry, leases=leases, api=api
        ),
        user_tunnels=UserTunnelHandler(authenticator=authenticator, access=access, api=api, verbs=verbs),
        jump=UserSshHandler(
            authorities=ground.authorities,
            authenticator=authenticator,
            access=access,
            sources=ground.sources,
            host_identity=tls.ssh_identity,
        ),
        web=WebFront(app=cast("ASGIApp", web)),
        diagnostics=WebFront(app=create_diagnostics(ground.database, registry)),
        addresses=addresses,
    )


def _grpc_server(
    methods: list[RpcMethod], verbs: VerbRegistry, authenticator: Authenticator, ground: Ground
) -> GrpcServer:
    every = [*methods, *HealthService().methods()]
    every += reflection_methods(every)
    register_methods(verbs, every)
    access = ApiAccess(authenticator=authenticator, audit=ground.audit, sources=ground.sources)
    return GrpcServer(every, authenticate=access.authenticate, authorize=access.authorize)
