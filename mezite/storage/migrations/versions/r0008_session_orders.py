# SPDX-License-Identifier: Apache-2.0
"""Orders to end sessions on nodes."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add who has ordered it, and why."""
    op.add_column("node_sessions", sa.Column("kill_by", sa.Text, nullable=True))
    op.add_column("node_sessions", sa.Column("kill_reason", sa.Text, nullable=True))
