# SPDX-License-Identifier: Apache-2.0
"""Agents, how they join, and the sessions on their nodes."""

from __future__ import annotations

import enum

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Table, Text, text

from mezite.storage.json_columns import EnumText, StringList, StringMap
from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["NodeSessionKind", "agents", "join_tokens", "live_connections", "node_sessions"]


class NodeSessionKind(enum.StrEnum):
    """What runs in an SSH session on a node."""

    SHELL = "shell"
    EXEC = "exec"
    SUBSYSTEM = "subsystem"


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
    CheckConstraint(HASH_LENGTH, name="token_hash"),
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
    Column("generation_base", BigInteger, nullable=False, server_default="0"),
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
    Column("kill_by", Text),
    Column("kill_reason", Text),
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

# Only of users whose number of connections is limited.
live_connections = Table(
    "live_connections",
    metadata,
    Column("connection_id", Text, primary_key=True),
    Column("user_name", Text, nullable=False),
    Column("hub_id", Text, nullable=False),
    Column("lease_until", BigInteger, nullable=False),
    Index("ix_live_connections_user_name", "user_name"),
)
