# SPDX-License-Identifier: Apache-2.0
"""The services of one hub process, made from its ground."""

from __future__ import annotations

import attrs

from mezite.config.schema import HubConfig
from mezite.hub.ground import Ground
from mezite.hub.webhook_receiver import configured_webhook
from mezite.services.access.live_access import LiveAccess
from mezite.services.app_memory import AppMemory
from mezite.services.apps.access import AppAccess
from mezite.services.apps.assertions import AppAssertions
from mezite.services.apps.catalog import AppCatalog
from mezite.services.apps.dialing import AppDialer
from mezite.services.apps.entry import AppEntry, AppEntryGround, open_app_entry
from mezite.services.apps.health_checks import AppHealthChecks
from mezite.services.apps.health_probe import HealthProbe
from mezite.services.apps.launcher import AppLauncher
from mezite.services.apps.registration import AppsDomain
from mezite.services.apps.request_log import AppRequestLog
from mezite.services.apps.sessions import AppSessions
from mezite.services.apps.status import AppStatus
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.housekeeping import Housekeeping
from mezite.services.locks.access_watch import AccessWatch
from mezite.services.locks.locks import Locks
from mezite.services.login.certificates import UserCertificateService
from mezite.services.nodes.access import NodeAccess
from mezite.services.nodes.directory import NodeDirectory
from mezite.services.nodes.live_connections import LiveConnections
from mezite.services.nodes.session_control import NodeSessionControl
from mezite.services.nodes.tunnel_leases import TunnelLeases
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.proofs.assembly import FactorServices, open_factor_services
from mezite.services.proofs.session_proof import SessionProofs
from mezite.services.public_addresses import PublicAddresses
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.requests.webhooks import Webhooks
from mezite.services.self_probes import SelfProbes
from mezite.services.sso.assembly import SsoGround, SsoServices, open_sso
from mezite.services.users.devices import Devices
from mezite.services.users.login_sessions import LoginSessions
from mezite.services.users.machine_identities import MachineIdentities
from mezite.services.users.own_sessions import OwnSessions

__all__ = ["HubServices", "open_services"]


@attrs.frozen(kw_only=True)
class HubServices:
    """What routes and finds; everything here belongs to one hub process."""

    registry: TunnelRegistry
    connections: LiveConnections
    leases: TunnelLeases
    access: NodeAccess
    directory: NodeDirectory
    apps: AppCatalog
    launcher: AppLauncher
    app_dialer: AppDialer
    app_health: AppHealthChecks
    app_access: AppAccess
    certificates: UserCertificateService
    sso: SsoServices
    authenticator: Authenticator
    refusals: CredentialRefusals
    addresses: PublicAddresses
    probes: SelfProbes
    sessions: OwnSessions
    locks: Locks
    machines: MachineIdentities
    node_sessions: NodeSessionControl
    login_sessions: LoginSessions
    watch: AccessWatch
    requests: AccessRequests
    webhooks: Webhooks | None
    devices: Devices
    factors: FactorServices
    live: LiveAccess
    assertions: AppAssertions
    app_requests: AppRequestLog
    app_entry: AppEntry
    housekeeping: Housekeeping


def open_services(config: HubConfig, ground: Ground, domain: AppsDomain) -> HubServices:
    """Make them; nothing runs yet."""
    database, audit, sources = ground.database, ground.audit, ground.sources
    locks = ground.lock_feed
    registry = TunnelRegistry()
    live = LiveAccess(feed=locks, sources=sources)
    memory = AppMemory(database)
    watch = _watch(config, ground, live, memory)
    connections = LiveConnections(
        database=database, audit=audit, sources=sources, hub_id=ground.hub_id, live=live
    )
    catalog = _app_catalog(ground, memory, domain)
    dialer = AppDialer(database=database, registry=registry)
    certificates = UserCertificateService(authorities=ground.authorities, audit=audit, sources=sources)
    authenticator = _authenticator(ground)
    addresses = _addresses(config)
    requests = AccessRequests(database=database, audit=audit, sources=sources)
    factors = _factors(config, ground, addresses)
    return HubServices(
        registry=registry,
        connections=connections,
        leases=_leases(ground, registry),
        access=_node_access(ground, registry, connections, live, factors.sessions),
        directory=_directory(ground, registry),
        apps=catalog,
        launcher=_launcher(ground, registry, catalog, addresses),
        app_dialer=dialer,
        app_health=_app_health(ground, memory, registry, dialer),
        app_access=_app_access(ground, catalog, dialer, connections, live),
        sso=_open_sso(config, ground, addresses, authenticator, certificates),
        certificates=certificates,
        authenticator=authenticator,
        refusals=CredentialRefusals(log=ground.refusals),
        addresses=addresses,
        probes=SelfProbes(),
        sessions=_own_sessions(ground),
        watch=watch,
        live=live,
        node_sessions=NodeSessionControl(database=database, audit=audit, watch=watch),
        login_sessions=_login_sessions(ground, watch),
        locks=Locks(database=database, audit=audit, sources=sources, watch=watch),
        machines=_machines(ground, certificates, watch),
        requests=requests,
        webhooks=_webhooks(config, ground, requests),
        devices=Devices(database=database, audit=audit, sources=sources, cluster=config.cluster_name),
        factors=factors,
        housekeeping=Housekeeping(database=database, sources=sources),
        assertions=AppAssertions(authorities=ground.authorities, issuer=addresses.web_url, sources=sources),
        app_requests=AppRequestLog(audit=audit, sources=sources),
        app_entry=_app_entry(ground, catalog, addresses, authenticator, factors),
    )


def _authenticator(ground: Ground) -> Authenticator:
    return Authenticator(
        database=ground.database,
        authorities=ground.authorities,
        sources=ground.sources,
        locks=ground.lock_feed,
    )


def _app_entry(
    ground: Ground,
    apps: AppCatalog,
    addresses: PublicAddresses,
    authenticator: Authenticator,
    factors: FactorServices,
) -> AppEntry:
    return open_app_entry(
        AppEntryGround(
            database=ground.database,
            audit=ground.audit,
            sources=ground.sources,
            refusals=ground.refusals,
            addresses=addresses,
            authenticator=authenticator,
            apps=apps,
            proofs=factors.sessions,
        )
    )


def _leases(ground: Ground, registry: TunnelRegistry) -> TunnelLeases:
    return TunnelLeases(
        database=ground.database,
        audit=ground.audit,
        sources=ground.sources,
        registry=registry,
        hub_id=ground.hub_id,
    )


def _directory(ground: Ground, registry: TunnelRegistry) -> NodeDirectory:
    return NodeDirectory(
        database=ground.database,
        audit=ground.audit,
        sources=ground.sources,
        registry=registry,
        locks=ground.lock_feed,
    )


def _node_access(
    ground: Ground,
    registry: TunnelRegistry,
    connections: LiveConnections,
    live: LiveAccess,
    proofs: SessionProofs,
) -> NodeAccess:
    return NodeAccess(
        database=ground.database,
        audit=ground.audit,
        sources=ground.sources,
        registry=registry,
        connections=connections,
        locks=ground.lock_feed,
        live=live,
        proofs=proofs,
    )


def _app_health(
    ground: Ground, memory: AppMemory, registry: TunnelRegistry, dialer: AppDialer
) -> AppHealthChecks:
    return AppHealthChecks(
        memory=memory,
        registry=registry,
        probe=HealthProbe(dialer=dialer),
        board=dialer.health,
        database=ground.database,
        sources=ground.sources,
    )


def _launcher(
    ground: Ground, registry: TunnelRegistry, catalog: AppCatalog, addresses: PublicAddresses
) -> AppLauncher:
    status = AppStatus(database=ground.database, registry=registry, sources=ground.sources)
    return AppLauncher(catalog=catalog, status=status, web_url=addresses.web_url)


def _app_catalog(ground: Ground, memory: AppMemory, domain: AppsDomain) -> AppCatalog:
    return AppCatalog(
        database=ground.database,
        memory=memory,
        audit=ground.audit,
        sources=ground.sources,
        locks=ground.lock_feed,
        domain=domain,
    )


def _app_access(
    ground: Ground, apps: AppCatalog, dialer: AppDialer, connections: LiveConnections, live: LiveAccess
) -> AppAccess:
    return AppAccess(
        apps=apps,
        dialer=dialer,
        connections=connections,
        audit=ground.audit,
        sources=ground.sources,
        locks=ground.lock_feed,
        live=live,
    )


def _addresses(config: HubConfig) -> PublicAddresses:
    public = config.proxy.public_addr
    return PublicAddresses(None if public is None else str(public))


def _machines(ground: Ground, certificates: UserCertificateService, watch: AccessWatch) -> MachineIdentities:
    return MachineIdentities(
        database=ground.database,
        authorities=ground.authorities,
        certificates=certificates,
        audit=ground.audit,
        sources=ground.sources,
        watch=watch,
        guesses=MachineIdentities.limits(ground.refusals),
    )


def _own_sessions(ground: Ground) -> OwnSessions:
    apps = AppSessions(database=ground.database, audit=ground.audit, sources=ground.sources)
    return OwnSessions(database=ground.database, audit=ground.audit, sources=ground.sources, apps=apps)


def _login_sessions(ground: Ground, watch: AccessWatch) -> LoginSessions:
    apps = AppSessions(database=ground.database, audit=ground.audit, sources=ground.sources)
    return LoginSessions(
        database=ground.database, audit=ground.audit, sources=ground.sources, apps=apps, watch=watch
    )


def _webhooks(config: HubConfig, ground: Ground, requests: AccessRequests) -> Webhooks | None:
    receiver = configured_webhook(config)
    if receiver is None:
        return None
    webhooks = Webhooks(
        database=ground.database, sources=ground.sources, cluster=config.cluster_name, webhook=receiver
    )
    requests.on_change(webhooks.tell)
    return webhooks


def _watch(config: HubConfig, ground: Ground, live: LiveAccess, apps: AppMemory) -> AccessWatch:
    return AccessWatch(
        database=ground.database,
        sources=ground.sources,
        feed=ground.lock_feed,
        live=live,
        apps=apps,
        hub_id=ground.hub_id,
        strict=config.auth.locking_mode == "strict",
    )


def _factors(config: HubConfig, ground: Ground, addresses: PublicAddresses) -> FactorServices:
    return open_factor_services(
        database=ground.database,
        audit=ground.audit,
        sources=ground.sources,
        cluster=config.cluster_name,
        box=ground.box,
        codes=ground.codes,
        login=ground.login,
        web_url=addresses.web_url,
    )


def _open_sso(
    config: HubConfig,
    ground: Ground,
    addresses: PublicAddresses,
    authenticator: Authenticator,
    certificates: UserCertificateService,
) -> SsoServices:
    return open_sso(
        SsoGround(
            database=ground.database,
            audit=ground.audit,
            refusals=ground.refusals,
            sources=ground.sources,
            addresses=addresses,
            authenticator=authenticator,
            certificates=certificates,
            passphrase=config.ca_key_passphrase,
        )
    )
