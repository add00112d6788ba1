# SPDX-License-Identifier: Apache-2.0
"""Devices of users."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "devices",
        sa.Column("device_id", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("approved_at", sa.BigInteger),
        sa.Column("approved_by", sa.Text),
        sa.Column("last_used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("device_id", name="pk_devices"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_devices_user_name", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_devices_user_name", "devices", ["user_name"])
    op.create_index("uq_devices_public_key", "devices", ["public_key"], unique=True)
