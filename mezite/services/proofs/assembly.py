# SPDX-License-Identifier: Apache-2.0
"""Everything about second factors that doors call, made from what a hub stands on."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mezite.services.audit_log import AuditLog
from mezite.services.factors.administration import FactorAdministration
from mezite.services.factors.fresh_proof import FreshProof
from mezite.services.factors.key_login import KeyLogin
from mezite.services.factors.own_factors import OwnFactors
from mezite.services.factors.password_change import PasswordChange
from mezite.services.factors.relying_party import RelyingParty, relying_party
from mezite.services.factors.security_keys import SecurityKeys
from mezite.services.login.codes import FactorCodes
from mezite.services.login.password_login import LoginService
from mezite.services.proofs.session_proof import SessionProofs
from mezite.services.sources import Sources
from mezite.storage.database import Database
from mezite.storage.secret_box import SecretBox

__all__ = ["FactorServices", "open_factor_services"]


@attrs.frozen(kw_only=True)
class FactorServices:
    """One of each."""

    key_login: KeyLogin
    proof: FreshProof
    own: OwnFactors
    administration: FactorAdministration
    sessions: SessionProofs
    password: PasswordChange


def open_factor_services(
    *,
    database: Database,
    audit: AuditLog,
    sources: Sources,
    cluster: str,
    box: SecretBox,
    codes: FactorCodes,
    login: LoginService,
    web_url: Callable[[], str],
) -> FactorServices:
    """Make them. `web_url` is where browsers reach the hub, known once its ports are bound."""

    def party() -> RelyingParty:
        return relying_party(web_url(), cluster)

    keys = SecurityKeys(database=database, sources=sources, cluster=cluster, party=party)
    proof = FreshProof(database=database, login=login, codes=codes, keys=keys, sources=sources)
    return FactorServices(
        key_login=KeyLogin(database=database, login=login, codes=codes, keys=keys),
        proof=proof,
        own=OwnFactors(
            database=database,
            box=box,
            keys=keys,
            proof=proof,
            audit=audit,
            sources=sources,
            cluster=cluster,
        ),
        administration=FactorAdministration(database=database, audit=audit),
        password=PasswordChange(login=login, proof=proof),
        sessions=SessionProofs(
            database=database,
            login=login,
            codes=codes,
            keys=keys,
            audit=audit,
            sources=sources,
            web_url=web_url,
        ),
    )
