# SPDX-License-Identifier: Apache-2.0
"""Second factors as administrators see them: which there are, and away with those that are lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditLog
from mezite.services.errors import NotFoundError
from mezite.storage import factors, recovery_codes, session_proofs, users
from mezite.storage.database import Database
from mezite.storage.factors import FactorKind, FactorRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["FactorAdministration", "FactorCounts"]


@attrs.frozen(kw_only=True)
class FactorCounts:
    """How much a user has."""

    totp: int = 0
    webauthn: int = 0
    recovery_codes: int = 0
    """Unused ones."""


@attrs.frozen(kw_only=True)
class FactorAdministration:
    """Lists and removes; nobody but the user adds."""

    database: Database
    audit: AuditLog

    async def counts(self) -> Mapping[str, FactorCounts]:
        """Return what every user has; users without a factor are missing."""

        def look(conn: Connection) -> dict[str, FactorCounts]:
            left = recovery_codes.count_unused_by_user(conn)
            return {
                name: FactorCounts(
                    totp=kinds.get(FactorKind.TOTP, 0),
                    webauthn=kinds.get(FactorKind.WEBAUTHN, 0),
                    recovery_codes=left.get(name, 0),
                )
                for name, kinds in factors.count_by_user(conn).items()
            }

        return await self.database.read(look)

    async def listed(self, user_name: str) -> list[FactorRow]:
        """Return a user's factors, oldest first. :raises NotFoundError: there is no such user."""
        if await self.database.read(users.get, name=user_name) is None:
            raise NotFoundError(f"user {user_name} does not exist: `mezctl users ls` shows who does")
        return await self.database.read(factors.list_of_user, user_name=user_name)

    async def reset(self, user_name: str, kind: FactorKind, *, by: str, client_address: str) -> int:
        """Remove all of a user's factors of one kind and return how many; with the last the recovery codes go.

        What was shown ahead of sessions counts no more: the factor may be in other hands.

        :raises NotFoundError: there is no such user.
        """
        await self.listed(user_name)

        def take_away(conn: Connection) -> list[FactorRow]:
            removed = factors.remove_kind(conn, user_name=user_name, kind=kind)
            if not factors.kinds_of_user(conn, user_name=user_name):
                recovery_codes.delete_of_user(conn, user_name=user_name)
            session_proofs.delete_of_user(conn, user_name=user_name)
            return removed

        removed = await self.database.write(take_away)
        for factor in removed:
            await self.audit.emit(
                EventType.USER_MFA_REMOVED,
                user_name=by,
                resource_type="user",
                resource_name=user_name,
                client_ip=client_address,
                factor=kind.value,
                factor_id=factor.id,
                factor_name=factor.name,
            )
        return len(removed)
