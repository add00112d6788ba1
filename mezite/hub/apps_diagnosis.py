# SPDX-License-Identifier: Apache-2.0
"""The applications in a hub's database, examined from beside the hub."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from mezite.config.schema import HubConfig
from mezite.core.apps.app import App
from mezite.core.diagnosis import Finding, Outcome
from mezite.hub.apps_certificate import configured_apps_keypair
from mezite.hub.web_certificate import KeypairError, configured_keypair
from mezite.services.apps.diagnosis import AppsDiagnosis
from mezite.services.apps.registration import AppsDomain
from mezite.services.apps.status import AppStatus
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.sources import Sources
from mezite.storage import apps
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["examine_stored_apps"]


async def examine_stored_apps(
    config: HubConfig, database: Database, sources: Sources, *, hub_runs: bool
) -> list[Finding]:
    """Return what is wrong with them. Which agents are connected is in the database, and counts where a hub runs."""
    try:
        stored = await database.read(_all_apps)
        status = AppStatus(database=database, registry=TunnelRegistry(), sources=sources)
        diagnosis = AppsDiagnosis(status=status, domain=_domain(config, sources), sees_agents=hub_runs)
        return await diagnosis.findings(stored)
    except (KeypairError, StorageError, ValueError) as error:
        # A ValueError is an application that only a newer version can read.
        return [Finding(step="applications", outcome=Outcome.SKIPPED, detail=f"not looked at: {error}")]


def _all_apps(conn: Connection) -> list[App]:
    rows = apps.get_many(conn, names=apps.revisions(conn).keys())
    return sorted((row.app() for row in rows), key=lambda app: app.name)


def _domain(config: HubConfig, sources: Sources) -> AppsDomain:
    """The domain, and the names of the certificate that applications are shown. :raises KeypairError:"""
    proxy = config.proxy
    if not proxy.enabled or proxy.tls_mode == "off":
        return AppsDomain(name=proxy.apps_domain)
    now = sources.now()
    pair = configured_apps_keypair(config, now) or configured_keypair(config, now)
    # The hub's own certificate covers the domain by itself.
    names: Collection[str] = [f"*.{proxy.apps_domain}"] if pair is None else [n.lower() for n in pair.names]
    return AppsDomain(name=proxy.apps_domain, certificate_names=lambda: names)
