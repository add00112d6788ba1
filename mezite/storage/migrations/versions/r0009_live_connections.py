# SPDX-License-Identifier: Apache-2.0
"""Connections of users whose number is limited."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "live_connections",
        sa.Column("connection_id", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("hub_id", sa.Text, nullable=False),
        sa.Column("lease_until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("connection_id", name="pk_live_connections"),
    )
    op.create_index("ix_live_connections_user_name", "live_connections", ["user_name"])
