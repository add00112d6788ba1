# SPDX-License-Identifier: Apache-2.0
"""What lets browsers come to applications, made together."""

from __future__ import annotations

import attrs

from mezite.services.apps.admission import AppAdmission
from mezite.services.apps.catalog import AppCatalog
from mezite.services.apps.logins import AppLogins
from mezite.services.apps.session_memory import AppSessionMemory
from mezite.services.apps.sessions import AppSessions
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.proofs.session_proof import SessionProofs
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.storage.database import Database

__all__ = ["AppEntry", "AppEntryGround", "open_app_entry"]


@attrs.frozen(kw_only=True)
class AppEntryGround:
    """What it stands on."""

    database: Database
    audit: AuditLog
    sources: Sources
    refusals: RefusalLog
    addresses: PublicAddresses
    authenticator: Authenticator
    apps: AppCatalog
    proofs: SessionProofs


@attrs.frozen(kw_only=True)
class AppEntry:
    """Whether they may, how they come, and what they have then."""

    admission: AppAdmission
    logins: AppLogins
    sessions: AppSessions
    memory: AppSessionMemory


def open_app_entry(ground: AppEntryGround) -> AppEntry:
    """Make it; nothing runs yet."""
    admission = AppAdmission(audit=ground.audit)
    sessions = AppSessions(database=ground.database, audit=ground.audit, sources=ground.sources)
    logins = AppLogins(
        database=ground.database,
        audit=ground.audit,
        sources=ground.sources,
        addresses=ground.addresses,
        authenticator=ground.authenticator,
        app_at=ground.apps.by_host,
        admission=admission,
        sessions=sessions,
        proofs=ground.proofs,
        refusals=ground.refusals,
    )
    memory = AppSessionMemory(authenticator=ground.authenticator, sessions=sessions, sources=ground.sources)
    return AppEntry(admission=admission, logins=logins, sessions=sessions, memory=memory)
