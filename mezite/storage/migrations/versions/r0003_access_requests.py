# SPDX-License-Identifier: Apache-2.0
"""Access requests and their reviews."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "access_requests",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("nodes", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ttl_seconds", sa.BigInteger, nullable=False),
        sa.Column("extends", sa.Text),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("approved_at", sa.BigInteger),
        sa.Column("closed_at", sa.BigInteger),
        sa.Column("closed_by", sa.Text),
        sa.Column("closing_reason", sa.Text),
        sa.Column("review_count", sa.BigInteger, nullable=False, server_default="0"),
        sa.PrimaryKeyConstraint("request_id", name="pk_access_requests"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_access_requests_user_name", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_access_requests_user_name", "access_requests", ["user_name", "created_at"])
    op.create_index("ix_access_requests_state_ends_at", "access_requests", ["state", "ends_at"])
    op.create_table(
        "access_request_reviews",
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("reviewer", sa.Text, nullable=False),
        sa.Column("approves", sa.Boolean, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("reviewed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "reviewer", name="pk_access_request_reviews"),
        sa.ForeignKeyConstraint(
            ["request_id"],
            ["access_requests.request_id"],
            name="fk_access_request_reviews_request_id",
            ondelete="CASCADE",
        ),
    )
