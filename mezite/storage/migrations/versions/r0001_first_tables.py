# SPDX-License-Identifier: Apache-2.0
"""The first tables: users, invites, certificate authorities, join tokens, agents, sessions, audit events."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything."""
    _people()
    _authorities_and_tokens()
    _agents()
    _sessions()
    _audit()


def _required(
    name: str, kind: type[sa.types.TypeEngine[Any]], default: str | None = None
) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=False, server_default=default)


def _optional(name: str, kind: type[sa.types.TypeEngine[Any]]) -> sa.Column[object]:
    return sa.Column(name, kind, nullable=True)


def _people() -> None:
    op.create_table(
        "users",
        _required("name", sa.Text),
        _optional("password_hash", sa.Text),
        _required("roles", sa.Text),
        _required("traits", sa.Text),
        _required("created_at", sa.BigInteger),
        _required("updated_at", sa.BigInteger),
        _optional("disabled_at", sa.BigInteger),
        _required("failed_logins", sa.BigInteger, "0"),
        _optional("last_failed_at", sa.BigInteger),
        _optional("locked_until", sa.BigInteger),
        sa.PrimaryKeyConstraint("name", name="pk_users"),
    )
    op.create_table(
        "invites",
        _required("token_hash", sa.Text),
        _required("user_name", sa.Text),
        _required("created_at", sa.BigInteger),
        _required("expires_at", sa.BigInteger),
        _optional("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_invites"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_invites_user_name", ondelete="CASCADE"
        ),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_invites_token_hash")),
    )
    op.create_index("ix_invites_user_name", "invites", ["user_name"])
    op.create_table(
        "web_sessions",
        _required("token_hash", sa.Text),
        _required("user_name", sa.Text),
        _required("kind", sa.Text),
        _required("created_at", sa.BigInteger),
        _required("expires_at", sa.BigInteger),
        _optional("revoked_at", sa.BigInteger),
        _required("client_ip", sa.Text),
        sa.PrimaryKeyConstraint("token_hash", name="pk_web_sessions"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_web_sessions_user_name", ondelete="CASCADE"
        ),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_web_sessions_token_hash")),
    )
    op.create_index("ix_web_sessions_user_name", "web_sessions", ["user_name"])
    op.create_index("ix_web_sessions_expires_at", "web_sessions", ["expires_at"])


def _authorities_and_tokens() -> None:
    op.create_table(
        "certificate_authorities",
        _required("id", sa.Text),
        _required("purpose", sa.Text),
        _required("public", sa.LargeBinary),
        _required("private", sa.LargeBinary),
        _optional("certificate", sa.Text),
        _required("state", sa.Text),
        _required("created_at", sa.BigInteger),
        _required("updated_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_certificate_authorities"),
    )
    op.create_index(
        "uq_certificate_authorities_purpose_state",
        "certificate_authorities",
        ["purpose", "state"],
        unique=True,
        sqlite_where=sa.text("state <> 'retired'"),
        postgresql_where=sa.text("state <> 'retired'"),
    )
    op.create_table(
        "join_tokens",
        _required("token_hash", sa.Text),
        _required("roles", sa.Text),
        _required("labels", sa.Text),
        _required("created_by", sa.Text),
        _required("created_at", sa.BigInteger),
        _required("expires_at", sa.BigInteger),
        _optional("used_at", sa.BigInteger),
        _optional("used_by", sa.Text),
        sa.PrimaryKeyConstraint("token_hash", name="pk_join_tokens"),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_join_tokens_token_hash")),
    )


def _agents() -> None:
    op.create_table(
        "agents",
        _required("agent_id", sa.Text),
        _required("node_name", sa.Text),
        _required("labels", sa.Text),
        _required("version", sa.Text),
        _required("os_info", sa.Text),
        _required("generation", sa.BigInteger),
        _required("generation_seen", sa.BigInteger, "0"),
        _required("tunnel_epoch", sa.BigInteger, "0"),
        _optional("hub_id", sa.Text),
        _optional("lease_until", sa.BigInteger),
        _optional("last_seen", sa.BigInteger),
        _optional("last_address", sa.Text),
        _optional("locked_at", sa.BigInteger),
        _optional("lock_reason", sa.Text),
        _required("created_at", sa.BigInteger),
        _optional("removed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("agent_id", name="pk_agents"),
    )
    op.create_index(
        "uq_agents_node_name",
        "agents",
        ["node_name"],
        unique=True,
        sqlite_where=sa.text("removed_at IS NULL"),
        postgresql_where=sa.text("removed_at IS NULL"),
    )
    op.create_index("ix_agents_hub_id", "agents", ["hub_id"])


def _sessions() -> None:
    op.create_table(
        "node_sessions",
        _required("session_id", sa.Text),
        _required("connection_id", sa.Text),
        _required("hub_id", sa.Text),
        _required("agent_id", sa.Text),
        _required("node_name", sa.Text),
        _required("user_name", sa.Text),
        _required("login", sa.Text),
        _required("kind", sa.Text),
        _required("client_ip", sa.Text),
        _required("started_at", sa.BigInteger),
        _optional("ended_at", sa.BigInteger),
        _optional("exit_status", sa.BigInteger),
        _required("bytes_from_user", sa.BigInteger, "0"),
        _required("bytes_to_user", sa.BigInteger, "0"),
        sa.PrimaryKeyConstraint("session_id", name="pk_node_sessions"),
    )
    op.create_index("ix_node_sessions_connection_id", "node_sessions", ["connection_id"])
    op.create_index("ix_node_sessions_started_at", "node_sessions", ["started_at"])
    op.create_index(
        "ix_node_sessions_live",
        "node_sessions",
        ["hub_id"],
        sqlite_where=sa.text("ended_at IS NULL"),
        postgresql_where=sa.text("ended_at IS NULL"),
    )


def _audit() -> None:
    op.create_table(
        "audit_events",
        _required("id", sa.Text),
        _required("hub_id", sa.Text),
        _required("seq", sa.BigInteger),
        _required("event_type", sa.Text),
        _required("timestamp", sa.BigInteger),
        _optional("user_name", sa.Text),
        _optional("resource_type", sa.Text),
        _optional("resource_name", sa.Text),
        _optional("session_id", sa.Text),
        _required("success", sa.Boolean),
        _required("json", sa.Text),
        _required("prev_hash", sa.Text),
        _required("hash", sa.Text),
        sa.PrimaryKeyConstraint("id", name="pk_audit_events"),
        sa.UniqueConstraint("hub_id", "seq", name="uq_audit_events_hub_id_seq"),
    )
    op.create_index("ix_audit_events_timestamp", "audit_events", ["timestamp", "id"])
    op.create_index("ix_audit_events_event_type", "audit_events", ["event_type", "timestamp", "id"])
    op.create_index("ix_audit_events_user_name", "audit_events", ["user_name", "timestamp", "id"])
