# SPDX-License-Identifier: Apache-2.0
"""Machine identities."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "machine_identities",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("max_ttl_seconds", sa.BigInteger, nullable=False),
        sa.Column("token_hash", sa.Text),
        sa.Column("token_expires_at", sa.BigInteger),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("serial_seen", sa.Text),
        sa.Column("serials_issued", sa.Text, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("renewed_at", sa.BigInteger),
        sa.Column("renewed_from", sa.Text),
        sa.PrimaryKeyConstraint("name", name="pk_machine_identities"),
        sa.ForeignKeyConstraint(
            ["name"], ["users.name"], name="fk_machine_identities_name", ondelete="CASCADE"
        ),
        sa.CheckConstraint("length(token_hash) = 64", name="token_hash"),
    )
    op.create_index("uq_machine_identities_token_hash", "machine_identities", ["token_hash"], unique=True)
