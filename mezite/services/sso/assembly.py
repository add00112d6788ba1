# SPDX-License-Identifier: Apache-2.0
"""Single sign-on of one hub: connectors, their providers, and logins through them."""

from __future__ import annotations

import attrs

from mezite.core.secret import Secret
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.login.certificates import UserCertificateService
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.services.sso.clients import SsoClients
from mezite.services.sso.connector_trial import ConnectorTrial
from mezite.services.sso.connectors import ConnectorCatalog
from mezite.services.sso.identity_providers import IdentityProviders
from mezite.services.sso.login import SsoLogin
from mezite.storage.database import Database

__all__ = ["SsoGround", "SsoServices", "open_sso"]


@attrs.frozen(kw_only=True)
class SsoGround:
    """What single sign-on stands on."""

    database: Database
    audit: AuditLog
    refusals: RefusalLog
    sources: Sources
    addresses: PublicAddresses
    authenticator: Authenticator
    certificates: UserCertificateService
    passphrase: Secret | None = None
    """`ca_key_passphrase`; see ConnectorCatalog."""


@attrs.frozen(kw_only=True)
class SsoServices:
    """Made by `open_sso`."""

    catalog: ConnectorCatalog
    trial: ConnectorTrial
    providers: IdentityProviders
    login: SsoLogin
    clients: SsoClients


def open_sso(ground: SsoGround) -> SsoServices:
    """Make them; nothing runs yet."""
    database, audit, sources = ground.database, ground.audit, ground.sources
    catalog = ConnectorCatalog(database=database, audit=audit, sources=sources, passphrase=ground.passphrase)
    providers = IdentityProviders(now=sources.now)
    login = SsoLogin(
        database=database,
        audit=audit,
        sources=sources,
        catalog=catalog,
        providers=providers,
        addresses=ground.addresses,
        refusals=ground.refusals,
        authenticator=ground.authenticator,
    )
    clients = SsoClients(
        login=login,
        catalog=catalog,
        authenticator=ground.authenticator,
        certificates=ground.certificates,
    )
    trial = ConnectorTrial(catalog=catalog, sources=sources, addresses=ground.addresses)
    return SsoServices(catalog=catalog, trial=trial, providers=providers, login=login, clients=clients)
