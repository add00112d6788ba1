# SPDX-License-Identifier: Apache-2.0
"""The users behind identities at a provider: made at the first login, brought up to date at each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from mezite.core.oidc.claim_mapping import MappedUser
from mezite.services.identity.role_definitions import definitions
from mezite.services.sso.identity_providers import Proven
from mezite.storage import sso_identities, users
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.sso_identities import SsoIdentityRow
from mezite.storage.users import NewUser, UserRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["SignedInUser", "SsoUserRefusedError", "sign_in"]


class SsoUserRefusedError(Exception):
    """Somebody has proven who they are at the provider, and has no place here; the message says why."""


@attrs.frozen(kw_only=True)
class SignedInUser:
    """The user as stored now."""

    user: UserRow
    created: bool
    changed: bool
    """Roles or traits are others than at the last login."""


def sign_in(
    conn: Connection, *, connector: str, proven: Proven, mapped: MappedUser, now: int
) -> SignedInUser:
    """Find or make the user of an identity, with the roles and traits that its claims give now.

    The name is the one that the user was made with: an identity whose name changes at the provider stays who it is.

    :raises SsoUserRefusedError: the user is disabled (a login revives nobody, threat E6); the name is somebody else's,
        and stays with them (E5); a role does not exist any more.
    """
    _check_roles(conn, connector, mapped)
    known = sso_identities.get(conn, issuer=proven.issuer, subject=proven.subject)
    if known is None:
        created = _created(conn, connector, proven, mapped, now)
        if created is not None:
            return SignedInUser(user=created, created=True, changed=True)
        # Another tab of the same person may have been a moment earlier: its transaction has ended by now.
        known = sso_identities.get(conn, issuer=proven.issuer, subject=proven.subject)
    if known is None:
        raise SsoUserRefusedError(
            f"the name {mapped.name} belongs to another user here: ask an administrator to rename one of them, "
            f"or to let connector {connector} take user names from another claim"
        )
    before = users.get(conn, name=known.user_name)
    if before is None or before.disabled_at is not None:
        raise SsoUserRefusedError(f"user {known.user_name} is disabled: ask an administrator")
    after = users.update(
        conn, name=before.name, roles=mapped.roles, traits=mapped.traits, origin=connector, now=now
    )
    sso_identities.note_login(conn, identity=known, connector=connector, now=now)
    assert after is not None, "it was there in this transaction"
    changed = (before.roles, before.traits) != (after.roles, after.traits)
    return SignedInUser(user=after, created=False, changed=changed)


def _created(
    conn: Connection, connector: str, proven: Proven, mapped: MappedUser, now: int
) -> UserRow | None:
    """The new user; None when the name is taken."""
    new = NewUser(name=mapped.name, roles=mapped.roles, traits=mapped.traits, origin=connector)
    try:
        user = users.insert(conn, user=new, now=now)
    except AlreadyExistsError:
        return None
    identity = SsoIdentityRow(
        issuer=proven.issuer,
        subject=proven.subject,
        user_name=user.name,
        connector=connector,
        created_at=now,
        last_login_at=now,
    )
    if not sso_identities.insert(conn, identity=identity):
        raise SsoUserRefusedError("the same person is signing in twice at this moment: try again")
    return user


def _check_roles(conn: Connection, connector: str, mapped: MappedUser) -> None:
    """Leaving a role out would leave out what it denies."""
    missing = set(mapped.roles) - {role.name for role in definitions(conn, mapped.roles)}
    if missing:
        raise SsoUserRefusedError(
            f"connector {connector} gives the role {min(missing)}, which does not exist: ask an administrator"
        )
