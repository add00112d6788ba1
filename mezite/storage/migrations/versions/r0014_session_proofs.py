# SPDX-License-Identifier: Apache-2.0
"""Proofs of a second factor for single sessions."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "session_proofs",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("targets", sa.Text, nullable=False),
        sa.Column("needs", sa.Text, nullable=False),
        sa.Column("serial", sa.Text, nullable=False),
        sa.Column("bound_to", sa.Text, nullable=False),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("window_ms", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("refused_at", sa.BigInteger),
        sa.Column("factor", sa.Text),
        sa.Column("proven_at", sa.BigInteger),
        sa.Column("good_until", sa.BigInteger),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_session_proofs"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_session_proofs_user_name", ondelete="CASCADE"
        ),
        sa.CheckConstraint("length(token_hash) = 64", name="token_hash"),
        sa.CheckConstraint(
            "(factor IS NULL AND proven_at IS NULL AND good_until IS NULL AND used_at IS NULL)"
            " OR (factor IS NOT NULL AND proven_at IS NOT NULL AND good_until IS NOT NULL"
            " AND refused_at IS NULL)",
            name="proven",
        ),
    )
    op.create_index("ix_session_proofs_user_name", "session_proofs", ["user_name"])
    op.create_index("ix_session_proofs_expires_at", "session_proofs", ["expires_at"])
