# SPDX-License-Identifier: Apache-2.0
"""The part of `authorize()` about `require_session_mfa`: which factor is missing (threats E7, E8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mezite.core.rbac.evaluator import Grants
from mezite.core.rbac.role_options import RoleOptions, SessionMfa, strictest
from mezite.core.rbac.session_mfa import satisfies
from mezite.services.identity.identities import UserIdentity

if TYPE_CHECKING:
    from mezite.services.access.authorization import AccessContext, Resource

__all__ = ["ask_for", "lacking_by_login", "lacking_mfa"]


def lacking_by_login(
    grants: Grants, identity: UserIdentity, resource: Resource, context: AccessContext
) -> dict[str, SessionMfa]:
    """Which logins need a factor that was not proven, sorted, each with the strictest that its roles ask for."""
    if all(role.options.require_session_mfa is SessionMfa.NONE for role, _logins in grants):
        return {}
    lacking: dict[str, SessionMfa] = {}
    for login in sorted(frozenset[str]().union(*(logins for _role, logins in grants))):
        options = strictest(role.options for role, logins in grants if login in logins)
        needs = lacking_mfa(options, identity, resource, attrs.evolve(context, login=login))
        if needs is not SessionMfa.NONE:
            lacking[login] = needs
    return lacking


def lacking_mfa(
    options: RoleOptions, identity: UserIdentity, resource: Resource, context: AccessContext
) -> SessionMfa:
    """Return the factor that a session needs and that the context does not prove; NONE: nothing is missing.

    A proof counts for the user, the target, the login and the certificate that it was made for.
    """
    needs, proof = options.require_session_mfa, context.proof
    if needs is SessionMfa.NONE or proof is None:
        return needs
    good = (
        satisfies(proof.factor, needs)
        and proof.user_name == identity.name
        and proof.serial == (context.serial or identity.serial)
        and proof.covers(resource.kind, resource.name, context.login)
    )
    return SessionMfa.NONE if good else needs


def ask_for(needs: SessionMfa) -> str:
    """Say what is missing."""
    return f"your roles ask for a second factor for each session (require_session_mfa: {needs.value})"
