# SPDX-License-Identifier: Apache-2.0
"""Connectors to identity providers, who came through them, and logins under way."""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, Text

from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["connectors", "sso_client_logins", "sso_identities", "sso_round_trips"]

connectors = Table(
    "connectors",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("secret", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
)

sso_identities = Table(
    "sso_identities",
    metadata,
    Column("issuer", Text, primary_key=True),
    Column("subject", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("connector", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_login_at", BigInteger, nullable=False),
    Index("uq_sso_identities_user_name", "user_name", unique=True),
)

sso_client_logins = Table(
    "sso_client_logins",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("connector", Text, nullable=False),
    Column("challenge", Text, nullable=False),
    Column("ssh_public_key", Text, nullable=False),
    Column("tls_public_key_pem", Text, nullable=False),
    Column("ttl_seconds", BigInteger, nullable=False),
    Column("callback_url", Text, nullable=False),
    Column("user_code", Text),
    Column("client_ip", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE")),
    Column("code_hash", Text),
    Column("approved_at", BigInteger),
    Column("refused_at", BigInteger),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("uq_sso_client_logins_user_code", "user_code", unique=True),
    Index("ix_sso_client_logins_expires_at", "expires_at"),
)

sso_round_trips = Table(
    "sso_round_trips",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("browser_hash", Text, nullable=False),
    Column("connector", Text, nullable=False),
    Column("connector_version", BigInteger, nullable=False),
    Column("return_to", Text, nullable=False),
    Column("client_login", Text),
    Column("client_ip", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_sso_round_trips_expires_at", "expires_at"),
)
