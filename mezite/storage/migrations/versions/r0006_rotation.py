# SPDX-License-Identifier: Apache-2.0
"""Who trusts which keys, and what the keys before them have signed about those that followed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and create the tables."""
    op.add_column("certificate_authorities", sa.Column("requested_at", sa.BigInteger))
    op.add_column("certificate_authorities", sa.Column("retired_at", sa.BigInteger))
    op.create_table(
        "agent_trust",
        sa.Column("agent_id", sa.Text, nullable=False),
        sa.Column("key_ids", sa.Text, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("agent_id", name="pk_agent_trust"),
    )
    op.create_table(
        "hub_trust",
        sa.Column("hub_id", sa.Text, nullable=False),
        sa.Column("key_ids", sa.Text, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("hub_id", name="pk_hub_trust"),
    )
    op.create_table(
        "trust_continuations",
        sa.Column("signer_key_id", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("signature", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("signer_key_id", name="pk_trust_continuations"),
    )
