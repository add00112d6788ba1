# SPDX-License-Identifier: Apache-2.0
"""From result rows to frozen attrs rows, and the insert that does nothing when the key is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from sqlalchemy import Connection, Result, Row, Table

__all__ = ["all_rows", "first_row", "insert_if_absent", "insert_ignoring", "require_token_hash"]

T = TypeVar("T")

_HEX_DIGITS = frozenset("0123456789abcdef")


def first_row(row_type: type[T], result: Result[Any]) -> T | None:
    """The first row as `row_type`, whose fields are named like the columns; None when there is none."""
    row = result.first()
    return None if row is None else row_type(**row._mapping)


def all_rows(row_type: type[T], result: Result[Any]) -> list[T]:
    """Every row as `row_type`."""
    return [row_type(**row._mapping) for row in result]


def insert_ignoring(conn: Connection, table: Table, *, conflict: tuple[str, ...] = ()) -> Any:
    """`INSERT ... ON CONFLICT (conflict) DO NOTHING` in the connection's dialect; no columns means any
    conflict.

    Unlike catching IntegrityError, a conflict leaves the transaction usable on PostgreSQL. It waits for a
    transaction that has inserted the same key and not ended yet.
    """
    insert: Any = postgresql.insert if conn.dialect.name == "postgresql" else sqlite.insert
    return insert(table).on_conflict_do_nothing(index_elements=list(conflict) or None)


def insert_if_absent(conn: Connection, table: Table, values: Mapping[str, object]) -> Row[Any] | None:
    """Insert one row and return it as stored, or None when any unique key of it is taken."""
    statement = insert_ignoring(conn, table).values(dict(values)).returning(*table.c)
    row: Row[Any] | None = conn.execute(statement).first()
    return row


def require_token_hash(token_hash: str) -> str:
    """Return it unless it is not SHA-256 in lower-case hex.

    ValueError, so that no raw token is ever stored (E11).
    """
    if len(token_hash) != 64 or not _HEX_DIGITS.issuperset(token_hash):
        raise ValueError("a token hash is 64 lower-case hex digits")
    return token_hash
