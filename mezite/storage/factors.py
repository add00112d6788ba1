# SPDX-License-Identifier: Apache-2.0
"""Second factors of users. What makes a factor good once is decided by one conditional UPDATE (threat E10)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import ColumnElement, delete, func, select, update

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import FactorKind, factors

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "FactorKind",
    "FactorRow",
    "accept_counter",
    "accept_step",
    "count_by_user",
    "get_credential",
    "insert",
    "kinds_of_user",
    "list_of_user",
    "remove",
    "remove_kind",
]


@attrs.frozen(kw_only=True)
class FactorRow:
    """One factor; times in ms. What belongs to the other kind is None."""

    id: str
    user_name: str
    kind: FactorKind
    name: str
    created_at: int
    last_used_at: int | None = None
    secret: bytes | None = attrs.field(default=None, repr=False)
    """Sealed."""
    last_step: int | None = None
    """Codes of this step and of earlier ones are used up."""
    credential_id: str | None = None
    """Base64url without padding."""
    public_key: bytes | None = None
    """COSE."""
    sign_count: int | None = None
    verifies_user: bool | None = None
    """It has shown at enrolment that it checks who holds it; from then on it must."""


def insert(conn: Connection, *, factor: FactorRow) -> FactorRow:
    """Insert.

    AlreadyExistsError when the credential is enrolled already, for whomever; ConstraintError (at the transaction)
    without such a user.
    """
    row = insert_if_absent(conn, factors, attrs.asdict(factor))
    if row is None:
        raise AlreadyExistsError("factor", factor.name)
    return FactorRow(**row._mapping)


def list_of_user(conn: Connection, *, user_name: str) -> list[FactorRow]:
    """Every factor of the user, oldest first."""
    statement = select(factors).where(factors.c.user_name == user_name)
    return all_rows(FactorRow, conn.execute(statement.order_by(factors.c.created_at, factors.c.id)))


def kinds_of_user(conn: Connection, *, user_name: str) -> tuple[FactorKind, ...]:
    """The kinds of which the user has a factor, sorted; empty when there is none."""
    statement = select(factors.c.kind).distinct().where(factors.c.user_name == user_name)
    return tuple(sorted(conn.execute(statement).scalars()))


def count_by_user(conn: Connection) -> Mapping[str, Mapping[FactorKind, int]]:
    """How many factors of each kind each user has; users without one are missing."""
    statement = select(factors.c.user_name, factors.c.kind, func.count()).group_by(
        factors.c.user_name, factors.c.kind
    )
    counts: dict[str, dict[FactorKind, int]] = {}
    for user_name, kind, number in conn.execute(statement):
        counts.setdefault(user_name, {})[kind] = number
    return counts


def get_credential(conn: Connection, *, user_name: str, credential_id: str) -> FactorRow | None:
    """The user's WebAuthn credential of that id; None when there is none or it is another's (threat E7)."""
    statement = select(factors).where(
        factors.c.credential_id == credential_id, factors.c.user_name == user_name
    )
    return first_row(FactorRow, conn.execute(statement))


def accept_step(conn: Connection, *, factor_id: str, step: int, now: int) -> bool:
    """Use up a TOTP factor's codes up to `step`; False when that one was used up before."""
    statement = update(factors).where(factors.c.id == factor_id, factors.c.last_step < step)
    return conn.execute(statement.values(last_step=step, last_used_at=now)).rowcount == 1


def accept_counter(conn: Connection, *, factor_id: str, counter: int, now: int) -> bool:
    """Take over a WebAuthn credential's counter; False when it has not grown.

    A counter that stays behind means that there are two of the credential, or that an old answer came again. Some
    authenticators do not count: theirs is always 0 (WebAuthn section 6.1.1).
    """
    grown: ColumnElement[bool] = factors.c.sign_count < counter
    if counter == 0:
        grown = factors.c.sign_count == 0
    statement = update(factors).where(factors.c.id == factor_id, grown)
    return conn.execute(statement.values(sign_count=counter, last_used_at=now)).rowcount == 1


def remove(conn: Connection, *, user_name: str, factor_id: str) -> FactorRow | None:
    """Delete a factor of that user and return what it was; None when the user has no such factor."""
    statement = (
        delete(factors)
        .where(factors.c.id == factor_id, factors.c.user_name == user_name)
        .returning(*factors.c)
    )
    return first_row(FactorRow, conn.execute(statement))


def remove_kind(conn: Connection, *, user_name: str, kind: FactorKind) -> list[FactorRow]:
    """Delete all factors of that kind and return what they were."""
    statement = (
        delete(factors).where(factors.c.user_name == user_name, factors.c.kind == kind).returning(*factors.c)
    )
    return all_rows(FactorRow, conn.execute(statement))
