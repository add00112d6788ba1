# SPDX-License-Identifier: Apache-2.0
"""Second factors, recovery codes and challenges; when a session last showed a factor."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HASHED = "length(token_hash) = 64"


def upgrade() -> None:
    """Create the tables and add the column."""
    op.create_table(
        "factors",
        sa.Column("id", sa.Text, nullable=False),
        _user("factors"),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_used_at", sa.BigInteger),
        sa.Column("secret", sa.LargeBinary),
        sa.Column("last_step", sa.BigInteger),
        sa.Column("credential_id", sa.Text),
        sa.Column("public_key", sa.LargeBinary),
        sa.Column("sign_count", sa.BigInteger),
        sa.Column("verifies_user", sa.Boolean),
        sa.PrimaryKeyConstraint("id", name="pk_factors"),
        sa.CheckConstraint(
            "(kind = 'totp' AND secret IS NOT NULL AND last_step IS NOT NULL AND credential_id IS NULL)"
            " OR (kind = 'webauthn' AND secret IS NULL AND credential_id IS NOT NULL"
            " AND public_key IS NOT NULL AND sign_count IS NOT NULL AND verifies_user IS NOT NULL)",
            name="kind",
        ),
    )
    op.create_index("ix_factors_user_name", "factors", ["user_name"])
    op.create_index("uq_factors_credential_id", "factors", ["credential_id"], unique=True)
    op.create_table(
        "recovery_codes",
        sa.Column("token_hash", sa.Text, nullable=False),
        _user("recovery_codes"),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_recovery_codes"),
        sa.CheckConstraint(HASHED, name="token_hash"),
    )
    op.create_index("ix_recovery_codes_user_name", "recovery_codes", ["user_name"])
    _create_challenges()
    op.add_column("web_sessions", sa.Column("factor_at", sa.BigInteger))


def _user(table: str) -> sa.Column[str]:
    name = f"fk_{table}_user_name"
    return sa.Column(
        "user_name", sa.Text, sa.ForeignKey("users.name", name=name, ondelete="CASCADE"), nullable=False
    )


def _create_challenges() -> None:
    op.create_table(
        "mfa_challenges",
        sa.Column("token_hash", sa.Text, nullable=False),
        _user("mfa_challenges"),
        sa.Column("bound_to", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("payload", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_mfa_challenges"),
        sa.CheckConstraint(HASHED, name="token_hash"),
    )
    op.create_index("ix_mfa_challenges_user_name", "mfa_challenges", ["user_name"])
    op.create_index("ix_mfa_challenges_expires_at", "mfa_challenges", ["expires_at"])
