# SPDX-License-Identifier: Apache-2.0
"""The web API under `/v1/webapi/`, as a Quart-Trio application; a module of routes for each area."""

from __future__ import annotations

import attrs
from quart_trio import QuartTrio

from mezite.services.access.verb_registry import VerbRegistry
from mezite.services.apps.launcher import AppLauncher
from mezite.services.apps.logins import AppLogins
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.login.certificates import UserCertificateService
from mezite.services.login.password_login import LoginService
from mezite.services.proofs.assembly import FactorServices
from mezite.services.public_addresses import PublicAddresses
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.sources import Sources
from mezite.services.sso.assembly import SsoServices
from mezite.services.sso.program_logins import ProgramLogins
from mezite.services.users.devices import Devices
from mezite.services.users.own_sessions import OwnSessions
from mezite.web.account_routes import AccountRoutes
from mezite.web.answers import failure, protect
from mezite.web.app_entry_routes import AppEntryRoutes
from mezite.web.app_routes import AppRoutes
from mezite.web.built_pages import BuiltPages
from mezite.web.cluster_routes import ClusterRoutes
from mezite.web.device_routes import DeviceRoutes
from mezite.web.factor_routes import FactorRoutes
from mezite.web.login_answers import LoginAnswers
from mezite.web.program_routes import ProgramRoutes
from mezite.web.proof_routes import ProofRoutes
from mezite.web.request_routes import RequestRoutes
from mezite.web.route_table import RouteTable
from mezite.web.session_routes import SessionRoutes
from mezite.web.sso_routes import SsoRoutes

__all__ = ["WebServices", "create_app"]

MAX_BODY = 64 * 1024
"""The largest honest request is two public keys."""


@attrs.frozen(kw_only=True)
class WebServices:
    """What the routes call."""

    authenticator: Authenticator
    login: LoginService
    certificates: UserCertificateService
    authorities: CertificateAuthorities
    audit: AuditLog
    refusals: CredentialRefusals
    sources: Sources
    addresses: PublicAddresses
    sessions: OwnSessions
    requests: AccessRequests
    devices: Devices
    factors: FactorServices
    sso: SsoServices
    launcher: AppLauncher
    app_logins: AppLogins
    apps_connector: str | None = None
    """`proxy.apps_oidc_connector`."""


def create_app(services: WebServices, verbs: VerbRegistry, pages: BuiltPages | None = None) -> QuartTrio:
    """Return the application; its routes are declared in `verbs`. `pages` None: those that were built, if any were."""
    app = QuartTrio("mezite", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    table = RouteTable(
        app,
        verbs,
        authenticator=services.authenticator,
        audit=services.audit,
        sources=services.sources,
        refusals=services.refusals,
    )
    (pages or BuiltPages.load()).add_to(table)
    ClusterRoutes(
        authorities=services.authorities,
        sources=services.sources,
        addresses=services.addresses,
        connectors=services.sso.catalog,
    ).add_to(table)
    answers = LoginAnswers(sessions=services.sessions)
    AccountRoutes(
        login=services.login,
        certificates=services.certificates,
        authorities=services.authorities,
        requests=services.requests,
        devices=services.devices,
        answers=answers,
        password=services.factors.password,
    ).add_to(table)
    FactorRoutes(factors=services.factors, answers=answers).add_to(table)
    ProofRoutes(proofs=services.factors.sessions).add_to(table)
    SessionRoutes(sessions=services.sessions, factors=services.factors.own).add_to(table)
    RequestRoutes(requests=services.requests).add_to(table)
    SsoRoutes(sso=services.sso, answers=answers, authorities=services.authorities).add_to(table)
    programs = ProgramLogins(clients=services.sso.clients, proof=services.factors.proof)
    ProgramRoutes(programs=programs).add_to(table)
    DeviceRoutes(devices=services.devices).add_to(table)
    AppRoutes(launcher=services.launcher).add_to(table)
    AppEntryRoutes(
        logins=services.app_logins,
        authenticator=services.authenticator,
        connector=services.apps_connector,
    ).add_to(table)
    app.register_error_handler(Exception, failure)
    app.after_request(protect)
    return app
