# SPDX-License-Identifier: Apache-2.0
"""Machine identities: users that are programs, and the line of their certificates."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text

from mezite.storage.json_columns import StringList
from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["machine_identities"]

# Name, roles and traits are those of the user of the same name.
machine_identities = Table(
    "machine_identities",
    metadata,
    Column("name", Text, ForeignKey("users.name", ondelete="CASCADE"), primary_key=True),
    Column("max_ttl_seconds", BigInteger, nullable=False),
    # Of the token that has not been used yet.
    Column("token_hash", Text),
    Column("token_expires_at", BigInteger),
    Column("generation", BigInteger, nullable=False),
    Column("serial_seen", Text),
    Column("serials_issued", StringList, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("renewed_at", BigInteger),
    Column("renewed_from", Text),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("uq_machine_identities_token_hash", "token_hash", unique=True),
)
