# SPDX-License-Identifier: Apache-2.0
"""Devices that users have enrolled; trusted once an administrator has approved them, until they are removed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete as delete_from
from sqlalchemy import func, select, update

from mezite.storage import access_changes
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.rows import all_rows, first_row, insert_if_absent
from mezite.storage.schema import devices

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["DeviceRow", "approve", "count", "get", "insert", "list_all", "mark_used", "remove"]


@attrs.frozen(kw_only=True)
class DeviceRow:
    """One device. Times in ms; None is "not yet"."""

    device_id: str
    user_name: str
    name: str
    """What the user calls it."""
    public_key: str
    """`TYPE BASE64`, as OpenSSH writes it."""
    created_at: int
    approved_at: int | None = None
    approved_by: str | None = None
    last_used_at: int | None = None


def insert(conn: Connection, *, device: DeviceRow) -> DeviceRow:
    """Insert.

    AlreadyExistsError when the key is somebody's device, ConstraintError (at the transaction) without such a user.
    """
    row = insert_if_absent(conn, devices, attrs.asdict(device))
    if row is None:
        raise AlreadyExistsError("device", device.name)
    return DeviceRow(**row._mapping)


def get(conn: Connection, *, device_id: str) -> DeviceRow | None:
    """The device, or None."""
    return first_row(DeviceRow, conn.execute(select(devices).where(devices.c.device_id == device_id)))


def list_all(conn: Connection, *, user_name: str = "", limit: int = 1000) -> list[DeviceRow]:
    """Up to `limit` devices, newest first: all, or those of one user."""
    statement = select(devices).order_by(devices.c.created_at.desc(), devices.c.device_id).limit(limit)
    if user_name:
        statement = statement.where(devices.c.user_name == user_name)
    return all_rows(DeviceRow, conn.execute(statement))


def count(conn: Connection, *, user_name: str) -> int:
    """How many devices the user has."""
    statement = select(func.count()).select_from(devices).where(devices.c.user_name == user_name)
    return conn.execute(statement).scalar_one()


def approve(conn: Connection, *, device_id: str, by: str, now: int) -> DeviceRow | None:
    """Trust a device that waits for it; None when there is none. Of several who do so at once, one did."""
    statement = (
        update(devices)
        .where(devices.c.device_id == device_id, devices.c.approved_at.is_(None))
        .values(approved_at=now, approved_by=by)
        .returning(*devices.c)
    )
    return first_row(DeviceRow, conn.execute(statement))


def mark_used(conn: Connection, *, device_id: str, now: int) -> None:
    """Note that the device has proven its key."""
    conn.execute(update(devices).where(devices.c.device_id == device_id).values(last_used_at=now))


def remove(conn: Connection, *, device_id: str) -> bool:
    """Forget a device; False when there is none. Every hub asks about what is live (threat E14)."""
    removed = conn.execute(delete_from(devices).where(devices.c.device_id == device_id)).rowcount == 1
    if removed:
        access_changes.note(conn, AccessChange.RIGHTS)
    return removed
