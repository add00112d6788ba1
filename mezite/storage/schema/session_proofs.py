# SPDX-License-Identifier: Apache-2.0
"""Proofs of a second factor for single sessions: asked for, shown, used."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text

from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor
from mezite.storage.json_columns import EnumText, StringList
from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["session_proofs"]

session_proofs = Table(
    "session_proofs",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("kind", EnumText(ProvenFor), nullable=False),
    Column("targets", StringList, nullable=False),
    Column("needs", Text, nullable=False),
    # The certificate, and the connection or web session, with which it was asked for; empty where there is none.
    Column("serial", Text, nullable=False),
    Column("bound_to", Text, nullable=False),
    Column("client_ip", Text, nullable=False),
    # How long it is good for, once shown, any number of times; 0: once.
    Column("window_ms", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("refused_at", BigInteger),
    Column("factor", EnumText(ProvenFactor)),
    Column("proven_at", BigInteger),
    Column("good_until", BigInteger),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    CheckConstraint(
        "(factor IS NULL AND proven_at IS NULL AND good_until IS NULL AND used_at IS NULL)"
        " OR (factor IS NOT NULL AND proven_at IS NOT NULL AND good_until IS NOT NULL AND refused_at IS NULL)",
        name="proven",
    ),
    Index("ix_session_proofs_user_name", "user_name"),
    Index("ix_session_proofs_expires_at", "expires_at"),
)
