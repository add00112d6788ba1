# SPDX-License-Identifier: Apache-2.0
"""All signing keys of a cluster at one moment: those that sign, and those that are trusted beside them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import attrs

from mezite.core.certificates.keys import PublicKey
from mezite.core.rotation import AuthorityState, KeySet
from mezite.core.secret import Secret
from mezite.services.authorities.keys import (
    POLICIES,
    Authority,
    Purpose,
    make_authority,
    open_authority,
)
from mezite.services.sources import Sources
from mezite.storage import certificate_authorities as rows
from mezite.storage import trust
from mezite.storage.certificate_authorities import CertificateAuthorityRow
from mezite.storage.database import Database
from mezite.storage.trust import ContinuationRow

__all__ = ["KeyRing", "KeyStore"]

_ORDER: Final = (AuthorityState.ACTIVE, AuthorityState.NEXT, AuthorityState.RETIRED)


@attrs.frozen
class KeyRing:
    """The keys by purpose: the one that signs first, then the next one, then the retired ones, latest first."""

    _keys: Mapping[Purpose, tuple[Authority, ...]] = attrs.field(repr=False)
    continuations: tuple[ContinuationRow, ...] = ()
    """What keys that are gone have signed at last."""

    def active(self, purpose: Purpose) -> Authority:
        """The one that signs."""
        return self._keys[purpose][0]

    def trusted(self, purpose: Purpose) -> tuple[Authority, ...]:
        """All of a purpose."""
        return self._keys[purpose]

    def facts(self, purpose: Purpose) -> KeySet:
        """The same, for deciding on its rotation."""
        return KeySet(tuple(authority.facts for authority in self._keys[purpose]))

    def find(self, purpose: Purpose, key_id: str) -> Authority:
        """The key with that id. :raises KeyError: it is not here."""
        for authority in self._keys[purpose]:
            if authority.key_id == key_id:
                return authority
        raise KeyError(key_id)

    @property
    def key_ids(self) -> frozenset[str]:
        """The ids of all keys of all purposes."""
        return frozenset(authority.key_id for keys in self._keys.values() for authority in keys)

    def opened(self) -> dict[str, Authority]:
        """All keys by the id of their row."""
        return {authority.row.id: authority for keys in self._keys.values() for authority in keys}

    def public_keys(self, purpose: Purpose) -> list[PublicKey]:
        """The public halves of a purpose, in the order of `trusted`."""
        return [authority.key.public_key() for authority in self._keys[purpose]]


@attrs.define(eq=False, kw_only=True)
class KeyStore:
    """Reads and makes keys."""

    database: Database
    cluster: str
    passphrase: Secret | None
    sources: Sources

    def fresh(
        self, purpose: Purpose, *, state: AuthorityState = AuthorityState.ACTIVE
    ) -> CertificateAuthorityRow:
        """Return a key that is not stored yet."""
        return make_authority(purpose, self.cluster, self._secret(), self.sources, state=state)

    def open(self, row: CertificateAuthorityRow) -> Authority:
        """Open a key. :raises CaPassphraseError: the passphrase does not."""
        return open_authority(row, self._secret())

    async def load(self, before: KeyRing | None = None) -> KeyRing:
        """Return what is stored now, making what is missing; hubs that start at once agree on one key each.

        Keys of `before` are not opened again; it is returned itself when nothing has changed.

        :raises CaPassphraseError: the passphrase does not open a key.
        """
        if before is None:
            for purpose in Purpose:
                await self._make_missing(purpose)
        stored = await self.database.read(rows.list_all)
        kept = tuple(await self.database.read(trust.continuations))
        opened = {} if before is None else before.opened()
        if before is not None and _rows(opened.values()) == _rows_of(stored) and kept == before.continuations:
            return before
        return KeyRing(
            {
                purpose: tuple(
                    self._opened(row, opened)
                    for row in sorted(stored, key=_position)
                    if row.purpose == purpose.value
                )
                for purpose in Purpose
            },
            kept,
        )

    def _opened(self, row: CertificateAuthorityRow, opened: Mapping[str, Authority]) -> Authority:
        known = opened.get(row.id)
        return self.open(row) if known is None else attrs.evolve(known, row=row)

    async def _make_missing(self, purpose: Purpose) -> None:
        if await self.database.read(rows.get_active, purpose=purpose.value) is None:
            await self.database.write(rows.insert_active_if_absent, row=self.fresh(purpose))
        states = [AuthorityState.NEXT]
        ahead = await self.database.read(rows.list_all, purpose=purpose.value, states=states)
        if POLICIES[purpose].always_ahead and not ahead:
            row = self.fresh(purpose, state=AuthorityState.NEXT)
            await self.database.write(rows.insert_if_absent_in_state, row=row)

    def _secret(self) -> bytes | None:
        return None if self.passphrase is None else self.passphrase.reveal().encode()


def _position(row: CertificateAuthorityRow) -> tuple[int, int, str]:
    return _ORDER.index(row.state), -(row.retired_at or 0), row.id


def _rows(authorities: Iterable[Authority]) -> dict[str, CertificateAuthorityRow]:
    return {authority.row.id: authority.row for authority in authorities}


def _rows_of(stored: Iterable[CertificateAuthorityRow]) -> dict[str, CertificateAuthorityRow]:
    return {row.id: row for row in stored}
