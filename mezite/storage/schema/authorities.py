# SPDX-License-Identifier: Apache-2.0
"""The keys that sign certificates."""

from __future__ import annotations

import enum

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text, text

from mezite.storage.json_columns import EnumText
from mezite.storage.schema.metadata import metadata

__all__ = ["AuthorityState", "certificate_authorities"]


class AuthorityState(enum.StrEnum):
    """A certificate authority's place in its rotation."""

    ACTIVE = "active"
    """Signs, and is trusted. At most one for each purpose."""
    NEXT = "next"
    """Trusted ahead of its use, does not sign yet. At most one for each purpose."""
    RETIRED = "retired"
    """Signs nothing new; trusted until what it signed has expired."""


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
    Index(
        "uq_certificate_authorities_purpose_state",
        "purpose",
        "state",
        unique=True,
        sqlite_where=text("state <> 'retired'"),
        postgresql_where=text("state <> 'retired'"),
    ),
)
