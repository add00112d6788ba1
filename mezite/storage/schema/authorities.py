# SPDX-License-Identifier: Apache-2.0
"""The keys that sign, and who is known to trust them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text, text

from mezite.core.rotation import AuthorityState
from mezite.storage.json_columns import EnumText, StringList
from mezite.storage.schema.metadata import metadata

__all__ = [
    "AuthorityState",
    "agent_trust",
    "certificate_authorities",
    "hub_trust",
    "trust_continuations",
]


certificate_authorities = Table(
    "certificate_authorities",
    metadata,
    Column("id", Text, primary_key=True),
    Column("purpose", Text, nullable=False),
    Column("public", LargeBinary, nullable=False),
    Column("private", LargeBinary, nullable=False),
    Column("certificate", Text),
    Column("state", EnumText(AuthorityState), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("requested_at", BigInteger),
    Column("retired_at", BigInteger),
    Index(
        "uq_certificate_authorities_purpose_state",
        "purpose",
        "state",
        unique=True,
        sqlite_where=text("state <> 'retired'"),
        postgresql_where=text("state <> 'retired'"),
    ),
)

agent_trust = Table(
    "agent_trust",
    metadata,
    Column("agent_id", Text, primary_key=True),
    Column("key_ids", StringList, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

hub_trust = Table(
    "hub_trust",
    metadata,
    Column("hub_id", Text, primary_key=True),
    Column("key_ids", StringList, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
)

trust_continuations = Table(
    "trust_continuations",
    metadata,
    Column("signer_key_id", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("signature", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)
