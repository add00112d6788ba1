# SPDX-License-Identifier: Apache-2.0
"""The gRPC API of one hub: every service's methods, with the credential and the verb that each needs."""

from __future__ import annotations

from functools import partial

from mezite.api.access import ApiAccess, register_methods
from mezite.api.access_explain import AccessExplainApi
from mezite.api.apps import AppsApi
from mezite.api.audit import AuditApi
from mezite.api.auth import AuthApi
from mezite.api.authorities import AuthoritiesApi
from mezite.api.connectors import ConnectorsApi
from mezite.api.devices import DevicesApi
from mezite.api.doctor import DoctorApi, LoadBalancerReport
from mezite.api.enrollment import EnrollmentApi
from mezite.api.factors import FactorsApi
from mezite.api.health import HealthService
from mezite.api.key_login import KeyLoginApi
from mezite.api.locks import LocksApi
from mezite.api.machine_identities import MachineIdentitiesApi
from mezite.api.nodes import NodesApi
from mezite.api.reflection import reflection_methods
from mezite.api.requests import AccessRequestsApi
from mezite.api.roles import RolesApi
from mezite.api.rpc import RpcMethod
from mezite.api.server import GrpcServer
from mezite.api.session_proofs import SessionProofsApi
from mezite.api.sessions import SessionsApi
from mezite.api.tokens import TokensApi
from mezite.api.users import UsersApi
from mezite.core.diagnosis import Finding
from mezite.hub.balancer_probe import BalancerProbe, run_balancer_probe
from mezite.hub.ground import Ground
from mezite.hub.own_certificates import own_certificate_check
from mezite.hub.services import HubServices
from mezite.services.access.explain import AccessExplainer
from mezite.services.access.role_trial import RoleTrial
from mezite.services.access.roles import RoleCatalog
from mezite.services.access.verb_registry import VerbRegistry
from mezite.services.apps.diagnosis import AppsDiagnosis
from mezite.services.nodes.login_proofs import LoginProofs
from mezite.services.proofs.proofs_ahead import ProofsAhead

__all__ = ["open_api", "probe_balancer"]


def open_api(ground: Ground, services: HubServices, verbs: VerbRegistry) -> GrpcServer:
    """Make the server; its doors are declared in `verbs`."""
    methods = [
        *_login(ground, services),
        *DoctorApi(partial(probe_balancer, ground, services), partial(_examine_apps, services)).methods(),
        *EnrollmentApi(
            enrollment=ground.enrollment,
            connections=services.connections,
            authorities=ground.authorities,
            sources=ground.sources,
        ).methods(),
        *UsersApi(
            ground.accounts,
            factors=services.factors.administration,
            invite_url=services.addresses.invite_url,
        ).methods(),
        *_factors(ground, services),
        *_roles(ground),
        *_connectors(services).methods(),
        *AccessRequestsApi(services.requests).methods(),
        *DevicesApi(services.devices).methods(),
        *_tokens(ground, services),
        *NodesApi(services.directory).methods(),
        *AppsApi(catalog=services.apps, launcher=services.launcher).methods(),
        *LocksApi(services.locks).methods(),
        *SessionsApi(services.node_sessions, services.login_sessions).methods(),
        *AuditApi(ground.audit).methods(),
        *AuthoritiesApi(ground.rotation, ground.authorities).methods(),
        *HealthService().methods(),
    ]
    methods += reflection_methods(methods)
    register_methods(verbs, methods)
    access = _access(ground, services)
    return GrpcServer(
        methods,
        authenticate=access.authenticate,
        authorize=access.authorize,
        admit_stranger=access.admit_stranger,
    )


async def _examine_apps(services: HubServices) -> list[Finding]:
    diagnosis = AppsDiagnosis(status=services.launcher.status, domain=services.apps.domain)
    return await diagnosis.findings([known.app for known in await services.apps.list_apps()])


def _roles(ground: Ground) -> list[RpcMethod]:
    catalog = RoleCatalog(database=ground.database, audit=ground.audit, sources=ground.sources)
    explainer = AccessExplainer(database=ground.database, sources=ground.sources, locks=ground.lock_feed)
    trial = RoleTrial(database=ground.database, sources=ground.sources)
    return [*RolesApi(catalog, trial).methods(), *AccessExplainApi(explainer).methods()]


def _login(ground: Ground, services: HubServices) -> list[RpcMethod]:
    auth = AuthApi(
        login=ground.login,
        certificates=services.certificates,
        authorities=ground.authorities,
        sources=ground.sources,
        probes=services.probes,
        requests=services.requests,
        password=services.factors.password,
    )
    return [*auth.methods(), *KeyLoginApi(key_login=services.factors.key_login).methods()]


def _tokens(ground: Ground, services: HubServices) -> list[RpcMethod]:
    machines = MachineIdentitiesApi(services.machines, services.addresses.advertised)
    return [*TokensApi(ground.enrollment).methods(), *machines.methods()]


def _factors(ground: Ground, services: HubServices) -> list[RpcMethod]:
    proofs = services.factors.sessions
    sessions = SessionProofsApi(
        logins=LoginProofs(connections=services.connections, proofs=proofs, live=services.live),
        ahead=ProofsAhead(
            database=ground.database,
            proofs=proofs,
            audit=ground.audit,
            sources=ground.sources,
            locks=ground.lock_feed,
        ),
    )
    own = FactorsApi(factors=services.factors, web_url=services.addresses.web_url)
    return [*own.methods(), *sessions.methods()]


def _access(ground: Ground, services: HubServices) -> ApiAccess:
    return ApiAccess(
        authenticator=services.authenticator,
        audit=ground.audit,
        sources=ground.sources,
        refusals=services.refusals,
    )


def _connectors(services: HubServices) -> ConnectorsApi:
    return ConnectorsApi(
        catalog=services.sso.catalog, trial=services.sso.trial, web_url=services.addresses.web_url
    )


async def probe_balancer(ground: Ground, services: HubServices, idle_seconds: int) -> LoadBalancerReport:
    """Have the hub test its own public addresses, leaving connections idle for so long."""
    return await run_balancer_probe(
        BalancerProbe(
            public=services.addresses.advertised(),
            hub=services.addresses.listening(),
            is_own_certificate=own_certificate_check(ground.authorities, ground.sources),
            probes=services.probes,
            idle_seconds=idle_seconds,
        )
    )
