# SPDX-License-Identifier: Apache-2.0
"""The audit log."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Table, Text, UniqueConstraint

from mezite.storage.schema.metadata import metadata

__all__ = ["audit_events"]

audit_events = Table(
    "audit_events",
    metadata,
    Column("id", Text, primary_key=True),
    Column("hub_id", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    Column("user_name", Text),
    Column("resource_type", Text),
    Column("resource_name", Text),
    Column("session_id", Text),
    Column("success", Boolean, nullable=False),
    Column("json", Text, nullable=False),
    Column("prev_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    UniqueConstraint("hub_id", "seq", name="uq_audit_events_hub_id_seq"),
    Index("ix_audit_events_timestamp", "timestamp", "id"),
    Index("ix_audit_events_event_type", "event_type", "timestamp", "id"),
    Index("ix_audit_events_user_name", "user_name", "timestamp", "id"),
)
