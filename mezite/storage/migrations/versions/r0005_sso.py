# SPDX-License-Identifier: Apache-2.0
"""Single sign-on: connectors, identities behind users, logins under way."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables and say of each user where they come from."""
    op.add_column("users", sa.Column("origin", sa.Text))
    op.create_table(
        "connectors",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_connectors"),
    )
    _identities()
    _client_logins()
    _round_trips()


def _identities() -> None:
    op.create_table(
        "sso_identities",
        sa.Column("issuer", sa.Text, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("user_name", sa.Text, nullable=False),
        sa.Column("connector", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("last_login_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("issuer", "subject", name="pk_sso_identities"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_sso_identities_user_name", ondelete="CASCADE"
        ),
    )
    op.create_index("uq_sso_identities_user_name", "sso_identities", ["user_name"], unique=True)


def _client_logins() -> None:
    op.create_table(
        "sso_client_logins",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("connector", sa.Text, nullable=False),
        sa.Column("challenge", sa.Text, nullable=False),
        sa.Column("ssh_public_key", sa.Text, nullable=False),
        sa.Column("tls_public_key_pem", sa.Text, nullable=False),
        sa.Column("ttl_seconds", sa.BigInteger, nullable=False),
        sa.Column("callback_url", sa.Text, nullable=False),
        sa.Column("user_code", sa.Text),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("user_name", sa.Text),
        sa.Column("code_hash", sa.Text),
        sa.Column("approved_at", sa.BigInteger),
        sa.Column("refused_at", sa.BigInteger),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_sso_client_logins"),
        sa.ForeignKeyConstraint(
            ["user_name"], ["users.name"], name="fk_sso_client_logins_user_name", ondelete="CASCADE"
        ),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_sso_client_logins_token_hash")),
    )
    op.create_index("uq_sso_client_logins_user_code", "sso_client_logins", ["user_code"], unique=True)
    op.create_index("ix_sso_client_logins_expires_at", "sso_client_logins", ["expires_at"])


def _round_trips() -> None:
    op.create_table(
        "sso_round_trips",
        sa.Column("token_hash", sa.Text, nullable=False),
        sa.Column("browser_hash", sa.Text, nullable=False),
        sa.Column("connector", sa.Text, nullable=False),
        sa.Column("connector_version", sa.BigInteger, nullable=False),
        sa.Column("return_to", sa.Text, nullable=False),
        sa.Column("client_login", sa.Text),
        sa.Column("client_ip", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_hash", name="pk_sso_round_trips"),
        sa.CheckConstraint("length(token_hash) = 64", name=op.f("ck_sso_round_trips_token_hash")),
    )
    op.create_index("ix_sso_round_trips_expires_at", "sso_round_trips", ["expires_at"])
