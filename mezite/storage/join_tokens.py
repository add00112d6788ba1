# SPDX-License-Identifier: Apache-2.0
"""Join tokens: one-time secrets with which an agent enrols, kept only as a hash."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete as delete_from
from sqlalchemy import select

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.one_time import ConsumeFailure, consume_once
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import join_tokens

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ConsumeFailure",
    "JoinTokenRow",
    "consume",
    "delete",
    "get",
    "insert",
    "labels_of_agent",
    "list_all",
]


@attrs.frozen(kw_only=True)
class JoinTokenRow:
    """One join token; `token_hash` is SHA-256 in hex, times in ms, `used_by` an agent id."""

    token_hash: str
    roles: tuple[str, ...]
    labels: Mapping[str, str]
    created_by: str
    created_at: int
    expires_at: int
    used_at: int | None = None
    used_by: str | None = None


def insert(conn: Connection, *, token: JoinTokenRow) -> JoinTokenRow:
    """Insert; AlreadyExistsError when the hash is known."""
    require_token_hash(token.token_hash)
    row = insert_if_absent(conn, join_tokens, attrs.asdict(token, recurse=False))
    if row is None:
        raise AlreadyExistsError("join token", token.token_hash[:8])
    return JoinTokenRow(**row._mapping)


def get(conn: Connection, *, token_hash: str) -> JoinTokenRow | None:
    """The token, used or not, or None. Looking does not consume it."""
    statement = select(join_tokens).where(join_tokens.c.token_hash == token_hash)
    return first_row(JoinTokenRow, conn.execute(statement))


def consume(conn: Connection, *, token_hash: str, used_by: str, now: int) -> JoinTokenRow | ConsumeFailure:
    """Use it up for `used_by`: exactly one of any number of concurrent calls gets the row (threat E10).

    In one transaction with `agents.register` a refused registration gives the token back by rolling back.
    """
    row = consume_once(conn, join_tokens, token_hash, now=now, used_by=used_by)
    return row if isinstance(row, ConsumeFailure) else JoinTokenRow(**row._mapping)


def list_all(conn: Connection) -> list[JoinTokenRow]:
    """Every token, newest first, used and expired ones included until `delete_stale`."""
    statement = select(join_tokens).order_by(join_tokens.c.created_at.desc(), join_tokens.c.token_hash)
    return all_rows(JoinTokenRow, conn.execute(statement))


def labels_of_agent(conn: Connection, *, agent_id: str) -> dict[str, str]:
    """The labels that the agent's join token fixed; empty when it fixed none or is deleted."""
    statement = select(join_tokens.c.labels).where(join_tokens.c.used_by == agent_id)
    return {key: value for labels in conn.execute(statement).scalars() for key, value in labels.items()}


def delete(conn: Connection, *, token_hash: str) -> bool:
    """Delete it; False when there is no such token."""
    return conn.execute(delete_from(join_tokens).where(join_tokens.c.token_hash == token_hash)).rowcount == 1
