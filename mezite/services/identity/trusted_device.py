# SPDX-License-Identifier: Apache-2.0
"""Whether the device that a credential names is trusted now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mezite.storage import devices

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["trusted_device"]


def trusted_device(conn: Connection, user_name: str, device_id: str) -> str:
    """Return `device_id` if it is an approved device of this user; else, and for none, nothing.

    A removed device is gone, and its id never comes back.
    """
    row = devices.get(conn, device_id=device_id) if device_id else None
    trusted = row is not None and row.user_name == user_name and row.approved_at is not None
    return device_id if trusted else ""
