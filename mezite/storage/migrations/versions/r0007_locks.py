# SPDX-License-Identifier: Apache-2.0
"""Locks, what they have cut, and the counter of changes to rights."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "locks",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_locks"),
    )
    op.create_table(
        "lock_effects",
        sa.Column("lock_id", sa.Text, nullable=False),
        sa.Column("hub_id", sa.Text, nullable=False),
        sa.Column("sessions", sa.BigInteger, nullable=False),
        sa.Column("connections", sa.BigInteger, nullable=False),
        sa.Column("slowest_ms", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("lock_id", "hub_id", name="pk_lock_effects"),
        sa.ForeignKeyConstraint(
            ["lock_id"], ["locks.id"], name="fk_lock_effects_lock_id", ondelete="CASCADE"
        ),
    )
    op.create_table(
        "access_changes",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_access_changes"),
    )
