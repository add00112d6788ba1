# SPDX-License-Identifier: Apache-2.0
"""Browsers at applications: their sessions, and how they come by one."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text

from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["app_codes", "app_logins", "app_sessions"]

app_logins = Table(
    "app_logins",
    metadata,
    # Of the key that the browser carries to the hub's own host.
    Column("token_hash", Text, primary_key=True),
    Column("browser_hash", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("client_ip", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_app_logins_expires_at", "expires_at"),
)

app_codes = Table(
    "app_codes",
    metadata,
    # Of the code that the browser carries back to the application's host.
    Column("token_hash", Text, primary_key=True),
    Column("browser_hash", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("target", Text, nullable=False),
    Column("web_session", Text, ForeignKey("web_sessions.token_hash", ondelete="CASCADE"), nullable=False),
    Column("factor", Text, nullable=False),
    Column("idle_ms", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_app_codes_expires_at", "expires_at"),
)

app_sessions = Table(
    "app_sessions",
    metadata,
    Column("id", Text, primary_key=True),
    Column("token_hash", Text, nullable=False),
    Column("host", Text, nullable=False),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("web_session", Text, ForeignKey("web_sessions.token_hash", ondelete="CASCADE"), nullable=False),
    Column("factor", Text, nullable=False),
    Column("client_ip", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Unless it is used before: then so much later, and never after ends_at.
    Column("expires_at", BigInteger, nullable=False),
    Column("idle_ms", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("uq_app_sessions_token_hash", "token_hash", unique=True),
    Index("ix_app_sessions_user_name", "user_name"),
    Index("ix_app_sessions_web_session", "web_session"),
    Index("ix_app_sessions_expires_at", "expires_at"),
)
