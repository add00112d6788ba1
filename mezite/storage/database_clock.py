# SPDX-License-Identifier: Apache-2.0
"""The database's own clock, for what several hubs must agree on: leases and their ends (threat B8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["now"]

_POSTGRESQL = text("SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)")
# 2440587.5 is the Julian day of 1970-01-01T00:00Z; SQLite keeps 'now' to the millisecond.
_SQLITE = text("SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS integer)")


def now(conn: Connection) -> int:
    """Milliseconds since the epoch by the database server's clock (with SQLite: this machine's)."""
    return int(conn.execute(_POSTGRESQL if conn.dialect.name == "postgresql" else _SQLITE).scalar_one())
