# SPDX-License-Identifier: Apache-2.0
"""Applications, and how they are."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Table, Text

from mezite.storage.json_columns import StringList, StringMap
from mezite.storage.schema.metadata import metadata

__all__ = ["app_health", "apps"]

apps = Table(
    "apps",
    metadata,
    Column("name", Text, primary_key=True),
    Column("uri", Text, nullable=False),
    Column("public_addr", Text),
    Column("labels", StringMap, nullable=False),
    Column("protocol", Text, nullable=False),
    Column("agent_hostnames", StringList, nullable=False),
    Column("options", Text, nullable=False),
    Column("revision", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger),
    Index("uq_apps_public_addr", "public_addr", unique=True),
)

app_health = Table(
    "app_health",
    metadata,
    Column("app", Text, primary_key=True),
    Column("agent", Text, primary_key=True),
    Column("checked", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("since", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
)
