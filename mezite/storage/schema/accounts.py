# SPDX-License-Identifier: Apache-2.0
"""Users, what they may, and how they prove who they are."""

from __future__ import annotations

import enum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text

from mezite.storage.json_columns import EnumText, StringList, StringListMap
from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["WebSessionKind", "invites", "roles", "users", "web_sessions"]


class WebSessionKind(enum.StrEnum):
    """Where a web session's secret lives."""

    WEB = "web"
    """In a browser's cookie: state-changing requests need a CSRF token."""
    API = "api"
    """In a client's hands, sent as a bearer token."""


users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    Column("password_hash", Text),
    Column("roles", StringList, nullable=False),
    Column("traits", StringListMap, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Column("failed_logins", BigInteger, nullable=False, server_default="0"),
    Column("last_failed_at", BigInteger),
    Column("locked_until", BigInteger),
    Column("origin", Text),
)

roles = Table(
    "roles",
    metadata,
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

invites = Table(
    "invites",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_invites_user_name", "user_name"),
)

web_sessions = Table(
    "web_sessions",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("kind", EnumText(WebSessionKind), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
    Column("client_ip", Text, nullable=False),
    # When a second factor was last shown in this session; NULL: never.
    Column("factor_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_web_sessions_user_name", "user_name"),
    Index("ix_web_sessions_expires_at", "expires_at"),
)
