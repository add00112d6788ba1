# SPDX-License-Identifier: Apache-2.0
"""Devices of users."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Table, Text

from mezite.storage.schema.metadata import metadata

__all__ = ["devices"]

devices = Table(
    "devices",
    metadata,
    Column("device_id", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("public_key", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("approved_at", BigInteger),
    Column("approved_by", Text),
    Column("last_used_at", BigInteger),
    Index("ix_devices_user_name", "user_name"),
    # One key is one user's device.
    Index("uq_devices_public_key", "public_key", unique=True),
)
