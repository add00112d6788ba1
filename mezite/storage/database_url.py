# SPDX-License-Identifier: Apache-2.0
"""What `database.url` may be: a path, `sqlite:///...`, `postgres://...` or `postgresql://...`."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from mezite.storage.errors import InvalidDatabaseUrlError

__all__ = ["PostgresLocation", "SqliteLocation", "parse_database_url"]


@attrs.frozen
class SqliteLocation:
    """A SQLite database file."""

    path: Path

    def __str__(self) -> str:
        return f"SQLite {self.path}"


@attrs.frozen
class PostgresLocation:
    """A PostgreSQL database. `str()` leaves the password out."""

    url: URL = attrs.field(repr=lambda url: url.render_as_string(hide_password=True))

    def __str__(self) -> str:
        hosts = self.url.host or self.url.query.get("host") or "local socket"
        if not isinstance(hosts, str):
            hosts = ",".join(hosts)
        port = f":{self.url.port}" if self.url.port else ""
        return f"PostgreSQL {self.url.database or ''}@{hosts}{port}"


def parse_database_url(text: str | os.PathLike[str]) -> SqliteLocation | PostgresLocation:
    """Parse; InvalidDatabaseUrlError says what is wrong without repeating the URL, which may hold a password
    (H6).

    As in SQLAlchemy `sqlite:///x.db` is relative and `sqlite:////x.db` absolute. `:memory:` is refused:
    readers and the writer are separate connections, which would each get a database of their own.
    """
    text = os.fspath(text)
    if "://" not in text:
        return _sqlite(text)
    scheme = text.split("://", 1)[0]
    if scheme not in {"sqlite", "postgres", "postgresql"}:
        raise InvalidDatabaseUrlError(
            f"database.url: unknown scheme {scheme!r};"
            " use a file path, sqlite:///PATH or postgres://USER:PASSWORD@HOST/NAME"
        )
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidDatabaseUrlError(
            f"database.url: not a valid {scheme} URL;"
            " special characters in user and password are written as %XX"
        ) from None
    if scheme == "sqlite":
        if url.host or url.query:
            raise InvalidDatabaseUrlError(
                "database.url: sqlite takes a path only, as in sqlite:////var/lib/mezite/mezhub.db"
            )
        return _sqlite(url.database or "")
    if not url.database:
        raise InvalidDatabaseUrlError(
            "database.url: the database name is missing, as in postgres://USER@HOST/NAME"
        )
    return PostgresLocation(url.set(drivername="postgresql+psycopg"))


def _sqlite(path: str) -> SqliteLocation:
    if not path or path == ":memory:":
        raise InvalidDatabaseUrlError(
            "database.url: a file path is needed; an in-memory database is not supported"
        )
    return SqliteLocation(Path(path))
