# SPDX-License-Identifier: Apache-2.0
"""How applications are, through each agent."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "app_health",
        sa.Column("app", sa.Text, nullable=False),
        sa.Column("agent", sa.Text, nullable=False),
        sa.Column("checked", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("app", "agent", name="pk_app_health"),
    )
