# SPDX-License-Identifier: Apache-2.0
"""Locks, what each has cut, and the counter by which hubs notice that somebody's rights have changed."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, PrimaryKeyConstraint, Table, Text

from mezite.core.rbac.locks import LockTarget
from mezite.storage.json_columns import EnumText
from mezite.storage.schema.metadata import metadata

__all__ = ["access_changes", "lock_effects", "locks"]

locks = Table(
    "locks",
    metadata,
    Column("id", Text, primary_key=True),
    Column("target", EnumText(LockTarget), nullable=False),
    Column("name", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
)

# One row for each hub that has seen the lock, though it may have cut nothing.
lock_effects = Table(
    "lock_effects",
    metadata,
    Column("lock_id", Text, ForeignKey("locks.id", ondelete="CASCADE"), nullable=False),
    Column("hub_id", Text, nullable=False),
    Column("sessions", BigInteger, nullable=False),
    Column("connections", BigInteger, nullable=False),
    Column("slowest_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("lock_id", "hub_id", name="pk_lock_effects"),
)

# One row for each kind of change.
access_changes = Table(
    "access_changes",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", BigInteger, nullable=False),
)
