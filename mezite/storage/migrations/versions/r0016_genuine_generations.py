# SPDX-License-Identifier: Apache-2.0
"""Which generations of an agent's certificate are genuine, beside the one that was seen."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column. For agents that are there, whatever was issued after the one that was seen stays genuine."""
    op.add_column("agents", sa.Column("generation_base", sa.BigInteger, nullable=False, server_default="0"))
    op.execute("UPDATE agents SET generation_base = generation_seen")
