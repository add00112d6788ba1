# SPDX-License-Identifier: Apache-2.0
"""Devices as mezctl and msh show them."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import devices_pb2 as pb
from mezite.cli.terminal.output import Column
from mezite.core.timestamps import format_timestamp

__all__ = ["DEVICE_COLUMNS", "device_row"]

DEVICE_COLUMNS = (
    Column("id", "Id"),
    Column("user", "User"),
    Column("name", "Name"),
    Column("state", "State"),
    Column("created_at", "Enrolled"),
    Column("last_used_at", "Last used"),
)


def device_row(device: pb.Device) -> dict[str, object]:
    """Return the JSON form, whose keys are stable."""
    return {
        "id": device.id,
        "user": device.user_name,
        "name": device.name,
        "state": "trusted" if device.approved_at_ms else "pending",
        "public_key": device.public_key,
        "created_at": format_timestamp(device.created_at_ms),
        "approved_at": format_timestamp(device.approved_at_ms) if device.approved_at_ms else None,
        "approved_by": device.approved_by or None,
        "last_used_at": format_timestamp(device.last_used_at_ms) if device.last_used_at_ms else None,
    }
