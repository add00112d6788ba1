# SPDX-License-Identifier: Apache-2.0
"""What a hub stands on: database, CAs, the audit log and the accounts.

Commands on the hub's own machine (`mezhub bootstrap`, `mezhub ca-pin`) open this much and no listener.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs

from mezite.config.schema import HubConfig
from mezite.hub.hub_identity import load_hub_id, served_names
from mezite.services.access.lock_feed import LockFeed
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.rotation import AuthorityRotation
from mezite.services.login.codes import FactorCodes
from mezite.services.login.password_login import LoginService
from mezite.services.nodes.enrollment import Enrollment
from mezite.services.sources import Sources
from mezite.services.users.accounts import Accounts
from mezite.storage.database import Database
from mezite.storage.password_hasher import PasswordHasher
from mezite.storage.secret_box import SecretBox

__all__ = ["Ground", "open_ground"]


@attrs.frozen(kw_only=True)
class Ground:
    """Opened; everything else of a hub is made from it."""

    hub_id: str
    sources: Sources
    database: Database
    authorities: CertificateAuthorities
    rotation: AuthorityRotation
    audit: AuditLog
    refusals: RefusalLog
    box: SecretBox
    """Where small secrets are sealed with the passphrase of the CA keys."""
    codes: FactorCodes
    login: LoginService
    accounts: Accounts
    enrollment: Enrollment
    lock_feed: LockFeed


@asynccontextmanager
async def open_ground(
    config: HubConfig, sources: Sources, passwords: PasswordHasher | None = None
) -> AsyncIterator[Ground]:
    """Open database and CAs. The caller runs `audit.run` before anything that is audited.

    `passwords` None is argon2 with its default cost.
    """
    hub_id = load_hub_id(Path(config.data_dir), sources)
    async with await Database.open(config.database_url().reveal()) as database:
        authorities = await CertificateAuthorities.open(
            database, cluster=config.cluster_name, passphrase=config.ca_key_passphrase, sources=sources
        )
        audit = AuditLog(database=database, cluster=config.cluster_name, hub_id=hub_id, sources=sources)
        passwords = passwords or PasswordHasher()
        refusals = RefusalLog(audit)
        box = SecretBox(
            None if config.ca_key_passphrase is None else config.ca_key_passphrase.reveal().encode(),
            token_bytes=sources.token_bytes,
        )
        codes = FactorCodes(database=database, box=box, sources=sources)
        lock_feed = LockFeed(database=database, sources=sources)
        await lock_feed.refresh()
        login = LoginService(
            database=database,
            passwords=passwords,
            codes=codes,
            audit=audit,
            sources=sources,
            refusals=refusals,
            locks=lock_feed,
        )
        yield Ground(
            hub_id=hub_id,
            sources=sources,
            database=database,
            authorities=authorities,
            rotation=AuthorityRotation(
                database=database, authorities=authorities, audit=audit, sources=sources, hub_id=hub_id
            ),
            audit=audit,
            refusals=refusals,
            box=box,
            codes=codes,
            login=login,
            accounts=Accounts(
                database=database, login=login, passwords=passwords, audit=audit, sources=sources
            ),
            enrollment=Enrollment(
                database=database,
                authorities=authorities,
                audit=audit,
                sources=sources,
                hub_names=_own_names(config),
                refusals=refusals,
            ),
            lock_feed=lock_feed,
        )


def _own_names(config: HubConfig) -> set[str]:
    """The names under which clients reach this hub.

    Not the machine's own: a hub and an agent on one machine are a common first try, and then the node has that name.
    """
    public = config.proxy.public_addr
    return {"localhost", *served_names(config)[1]} | (set() if public is None else {public.host.lower()})
