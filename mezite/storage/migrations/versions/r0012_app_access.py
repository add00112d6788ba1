# SPDX-License-Identifier: Apache-2.0
"""Browsers at applications: their sessions, and how they come by one."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    _logins()
    _codes()
    _sessions()


def _logins() -> None:
    op.create_table(
        "app_logins",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("browser_hash", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_app_logins"),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_app_logins_token_hash")),
    )
    op.create_index("ix_app_logins_expires_at", "app_logins", ["expires_at"])


def _codes() -> None:
    op.create_table(
        "app_codes",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("browser_hash", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("web_session", sa.Text, nullable=False),
        sa.Column("factor", sa.Text, nullable=False),
        sa.Column("idle_ms", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_app_codes"),
        sa.ForeignKeyConstraint(
            ["web_session"],
            ["web_sessions.token_hash"],
            name="fk_app_codes_web_session",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_app_codes_token_hash")),
    )
    op.create_index("ix_app_codes_expires_at", "app_codes", ["expires_at"])


def _sessions() -> None:
    op.create_table(
        "app_sessions",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("web_session", sa.Text, nullable=False),
        sa.Column("factor", sa.Text, nullable=False),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("idle_ms", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_app_sessions"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_app_sessions_user_name", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["web_session"],
            ["web_sessions.token_hash"],
            name="fk_app_sessions_web_session",
            ondelete="CASCADE",
        ),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_app_sessions_token_hash")),
    )
    op.create_index("uq_app_sessions_token_hash", "app_sessions", ["token_hash"], unique=True)
    op.create_index("ix_app_sessions_user_name", "app_sessions", ["user_name"])
    op.create_index("ix_app_sessions_web_session", "app_sessions", ["web_session"])
    op.create_index("ix_app_sessions_expires_at", "app_sessions", ["expires_at"])
