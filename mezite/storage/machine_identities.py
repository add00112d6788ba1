# SPDX-License-Identifier: Apache-2.0
"""Machine identities, and which of their certificates are genuine.

A renewal is asked for with a certificate, and its answer may get lost; so genuine are the newest one that has been
shown and those that were issued for it. Whoever shows one of these has heard the answer, and from then on only that
one counts. Two holders of a copy cannot both go on: what one is issued is of another line than what the other one
holds (threat B1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import select, update

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import machine_identities as machines

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "MOST_UNHEARD",
    "MachineRow",
    "find_by_token",
    "get",
    "insert",
    "list_all",
    "note_issued",
    "set_token",
    "show",
    "use_token",
]

MOST_UNHEARD = 8
"""Certificates that may have been issued without being heard of; of more, the newest count. Who holds several holds the
newest, unless it came late."""


@attrs.frozen(kw_only=True)
class MachineRow:
    """One machine identity. Times in ms; None is "never" or "none"."""

    name: str
    max_ttl_seconds: int
    token_hash: str | None = attrs.field(default=None, repr=False)
    """Of the token that has not been used yet."""
    token_expires_at: int | None = None
    generation: int = 0
    """How many certificates were issued since the last token was used."""
    serial_seen: str | None = None
    """Of the newest certificate that was shown for a renewal."""
    serials_issued: tuple[str, ...] = ()
    """Of those issued for it, the oldest first."""
    created_by: str
    created_at: int
    renewed_at: int | None = None
    renewed_from: str | None = None
    """`ip:port`."""


def insert(conn: Connection, *, machine: MachineRow) -> MachineRow:
    """Insert. AlreadyExistsError when the name is taken; ConstraintError (at the transaction) without such a user."""
    row = insert_if_absent(conn, machines, attrs.asdict(machine))
    if row is None:
        raise AlreadyExistsError("machine identity", machine.name)
    return MachineRow(**row._mapping)


def get(conn: Connection, *, name: str) -> MachineRow | None:
    """By name, or None."""
    return first_row(MachineRow, conn.execute(select(machines).where(machines.c.name == name)))


def find_by_token(conn: Connection, *, token_hash: str) -> MachineRow | None:
    """Whose token that is, expired or not; None when it was used, replaced or never made."""
    statement = select(machines).where(machines.c.token_hash == require_token_hash(token_hash))
    return first_row(MachineRow, conn.execute(statement))


def list_all(conn: Connection, *, after: str = "", limit: int = 1000) -> list[MachineRow]:
    """Up to `limit` by name, from the first above `after`."""
    statement = select(machines).where(machines.c.name > after).order_by(machines.c.name).limit(limit)
    return all_rows(MachineRow, conn.execute(statement))


def set_token(conn: Connection, *, name: str, token_hash: str, expires_at: int) -> MachineRow | None:
    """Give it a token in the place of an unused one; None when there is no such identity."""
    require_token_hash(token_hash)
    statement = update(machines).where(machines.c.name == name)
    values = {"token_hash": token_hash, "token_expires_at": expires_at}
    return first_row(MachineRow, conn.execute(statement.values(values).returning(*machines.c)))


def use_token(conn: Connection, *, token_hash: str, now: int) -> MachineRow | None:
    """Use a token up; None when it is unknown, used or expired. Of many at once exactly one gets the row (E10).

    From here on no certificate of before is genuine.
    """
    statement = (
        update(machines)
        .where(machines.c.token_hash == require_token_hash(token_hash), machines.c.token_expires_at > now)
        .values(token_hash=None, token_expires_at=None, generation=0, serial_seen=None, serials_issued=())
        .returning(*machines.c)
    )
    return first_row(MachineRow, conn.execute(statement))


def show(conn: Connection, *, name: str, serial: str) -> MachineRow | None:
    """Note that this certificate is in use; None when it is not genuine, or there is no such identity."""
    machine = _locked(conn, name)
    if machine is None or serial == machine.serial_seen:
        return machine
    if serial not in machine.serials_issued:
        return None
    statement = update(machines).where(machines.c.name == name)
    values = {"serial_seen": serial, "serials_issued": ()}
    return first_row(MachineRow, conn.execute(statement.values(values).returning(*machines.c)))


def note_issued(
    conn: Connection, *, name: str, shown: str | None, serial: str, address: str, now: int
) -> MachineRow | None:
    """Note the certificate issued to whoever has `shown` that one (None: the token); None when it counts no more."""
    machine = _locked(conn, name)
    if machine is None or machine.serial_seen != shown:
        return None
    values = {
        "generation": machine.generation + 1,
        "serials_issued": (*machine.serials_issued, serial)[-MOST_UNHEARD:],
        "renewed_at": now,
        "renewed_from": address,
    }
    statement = update(machines).where(machines.c.name == name)
    return first_row(MachineRow, conn.execute(statement.values(values).returning(*machines.c)))


def _locked(conn: Connection, name: str) -> MachineRow | None:
    """The row, which no other transaction changes before the end of this one: SQLite has one writer anyway."""
    statement = select(machines).where(machines.c.name == name).with_for_update()
    return first_row(MachineRow, conn.execute(statement))
