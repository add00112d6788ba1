# SPDX-License-Identifier: Apache-2.0
"""Every table, once. The migrations in `migrations/versions` build the same (a test compares the two).

Times are BIGINT milliseconds since the epoch. Secrets that users or agents hold (join tokens, invites, web
sessions) are kept only as SHA-256 in lower-case hex, and a CHECK on the length keeps a raw token out (threat
E11).
"""

from __future__ import annotations

import enum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from mezite.storage.json_columns import EnumText, StringList, StringListMap, StringMap

__all__ = [
    "AuthorityState",
    "NodeSessionKind",
    "WebSessionKind",
    "agents",
    "audit_events",
    "certificate_authorities",
    "invites",
    "join_tokens",
    "metadata",
    "node_sessions",
    "roles",
    "users",
    "web_sessions",
]

_HASH_LENGTH = "length(token_hash) = 64"


class AuthorityState(enum.StrEnum):
    """A certificate authority's place in its rotation."""

    ACTIVE = "active"
    """Signs, and is trusted. At most one for each purpose."""
    NEXT = "next"
    """Trusted ahead of its use, does not sign yet. At most one for each purpose."""
    RETIRED = "retired"
    """Signs nothing new; trusted until what it signed has expired."""


class WebSessionKind(enum.StrEnum):
    """Where a web session's secret lives."""

    WEB = "web"
    """In a browser's cookie: state-changing requests need a CSRF token."""
    API = "api"
    """In a client's hands, sent as a bearer token."""


class NodeSessionKind(enum.StrEnum):
    """What runs in an SSH session on a node."""

    SHELL = "shell"
    EXEC = "exec"
    SUBSYSTEM = "subsystem"


# Constraints carry names so that later migrations can drop them on SQLite too, where only batch mode can.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

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
    CheckConstraint(_HASH_LENGTH, name="token_hash"),
    Index("ix_invites_user_name", "user_name"),
)

certificate_authorities = Table(
    "certificate_authorities",
    metadata,
    Column("id", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("private", LargeBinary, nullable=False),
    Column("certificate", Text),
    Column("state", EnumText(AuthorityState), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Index(
        "uq_certificate_authorities_purpose_state",
        "purpose",
        "state",
        unique=True,
        sqlite_where=text("state <> 'retired'"),
        postgresql_where=text("state <> 'retired'"),
    ),
)

join_tokens = Table(
    "join_tokens",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("roles", StringList, nullable=False),
    Column("labels", StringMap, nullable=False),
    Column("created_by", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    Column("used_by", Text),
    CheckConstraint(_HASH_LENGTH, name="token_hash"),
)

agents = Table(
    "agents",
    metadata,
    Column("agent_id", Text, primary_key=True),
    Column("node_name", Text, nullable=False),
    Column("labels", StringMap, nullable=False),
    Column("version", Text, nullable=False),
    Column("os_info", Text, nullable=False),
    Column("generation", BigInteger, nullable=False),
    Column("generation_seen", BigInteger, nullable=False, server_default="0"),
    Column("tunnel_epoch", BigInteger, nullable=False, server_default="0"),
    Column("hub_id", Text),
    Column("lease_until", BigInteger),
    Column("last_seen", BigInteger),
    Column("last_address", Text),
    Column("locked_at", BigInteger),
    Column("lock_reason", Text),
    Column("created_at", BigInteger, nullable=False),
    Column("removed_at", BigInteger),
    # A removed agent keeps its row, so that its certificate is refused with a reason, but gives its name
    # back.
    Index(
        "uq_agents_node_name",
        "node_name",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
    Index("ix_agents_hub_id", "hub_id"),
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
    CheckConstraint(_HASH_LENGTH, name="token_hash"),
    Index("ix_web_sessions_user_name", "user_name"),
    Index("ix_web_sessions_expires_at", "expires_at"),
)

node_sessions = Table(
    "node_sessions",
    metadata,
    Column("session_id", Text, primary_key=True),
    Column("connection_id", Text, nullable=False),
    Column("hub_id", Text, nullable=False),
    Column("agent_id", Text, nullable=False),
    Column("node_name", Text, nullable=False),
    Column("user_name", Text, nullable=False),
    Column("login", Text, nullable=False),
    Column("kind", EnumText(NodeSessionKind), nullable=False),
    Column("client_ip", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("ended_at", BigInteger),
    Column("exit_status", BigInteger),
    Column("bytes_from_user", BigInteger, nullable=False, server_default="0"),
    Column("bytes_to_user", BigInteger, nullable=False, server_default="0"),
    Index("ix_node_sessions_connection_id", "connection_id"),
    Index("ix_node_sessions_started_at", "started_at"),
    # Live sessions are few among many ended ones.
    Index(
        "ix_node_sessions_live",
        "hub_id",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
)

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
