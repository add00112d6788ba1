# SPDX-License-Identifier: Apache-2.0
"""Second factors that are typed: codes of authenticator applications, and recovery codes. Each is good once."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import attrs

from mezite.core.recovery_code import recovery_code_hash
from mezite.core.totp import matching_step
from mezite.services.sources import Sources
from mezite.storage import factors, recovery_codes
from mezite.storage.database import Database
from mezite.storage.factors import FactorKind
from mezite.storage.secret_box import SecretBox

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["NO_CODE", "FactorCodes", "FactorRefusedError", "FactorShown", "ShownCode", "totp_context"]

MAX_CODE = 64
"""A recovery code has 19 characters; spaces between them are forgiven."""


class FactorShown(enum.StrEnum):
    """What proved the user beyond the password."""

    TOTP = "totp"
    RECOVERY_CODE = "recovery_code"
    WEBAUTHN = "webauthn"


class FactorRefusedError(Exception):
    """What was shown is not good; the text says why, for the audit log only."""


@attrs.frozen(kw_only=True)
class ShownCode:
    """What was typed."""

    totp: str = attrs.field(default="", repr=False)
    recovery_code: str = attrs.field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.totp or self.recovery_code)


NO_CODE = ShownCode()


def totp_context(user_name: str) -> str:
    """What a sealed TOTP secret belongs to: moved to another user's row it does not open."""
    return f"totp:{user_name}"


class FactorCodes:
    """Checks codes of one cluster's users."""

    def __init__(self, *, database: Database, box: SecretBox, sources: Sources) -> None:
        self._database = database
        self._box = box
        self._sources = sources

    async def kinds(self, user_name: str) -> tuple[FactorKind, ...]:
        """Return the kinds of which this user has a factor; empty when a password is all there is."""
        return await self._database.read(factors.kinds_of_user, user_name=user_name)

    async def check(self, user_name: str, shown: ShownCode) -> FactorShown | None:
        """Use up what was typed and say what it was; None when it is not good, or not any more.

        :raises SealedSecretError: the stored secret cannot be opened with this hub's passphrase.
        """
        if len(shown.totp) > MAX_CODE or len(shown.recovery_code) > MAX_CODE:
            return None
        if shown.totp and await self._use_totp(user_name, shown.totp):
            return FactorShown.TOTP
        if shown.recovery_code and await self._use_recovery_code(user_name, shown.recovery_code):
            return FactorShown.RECOVERY_CODE
        return None

    async def _use_totp(self, user_name: str, code: str) -> bool:
        rows = await self._database.read(factors.list_of_user, user_name=user_name)
        now = self._sources.now()
        for row in rows:
            if row.secret is None:
                continue
            secret = await self._box.open(row.secret, context=totp_context(user_name))
            step = matching_step(secret, code, now=now // 1000)
            if step is not None and await self._database.write(
                factors.accept_step, factor_id=row.id, step=step, now=now
            ):
                return True
        return False

    async def _use_recovery_code(self, user_name: str, code: str) -> bool:
        hashed, now = recovery_code_hash(user_name, code), self._sources.now()

        def use(conn: Connection) -> bool:
            return recovery_codes.consume(conn, user_name=user_name, token_hash=hashed, now=now)

        return await self._database.write(use)
