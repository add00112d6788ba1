# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from mezite.storage.database_url import PostgresLocation, SqliteLocation, parse_database_url
from mezite.storage.errors import InvalidDatabaseUrlError


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/var/lib/mezite/mezhub.db", "/var/lib/mezite/mezhub.db"),
        (Path("/data/x.db"), "/data/x.db"),
        ("x.db", "x.db"),
        ("sqlite:///x.db", "x.db"),
        ("sqlite:////data/x.db", "/data/x.db"),
        ("odd name?#%41.db", "odd name?#%41.db"),
    ],
)
def test_sqlite(text, path):
    location = parse_database_url(text)
    assert location == SqliteLocation(Path(path))
    assert str(location) == f"SQLite {path}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgres://u:canary@db.example/mezite", "PostgreSQL mezite@db.example"),
        ("postgresql://u:canary@127.0.0.1:5433/mezite?sslmode=require", "PostgreSQL mezite@127.0.0.1:5433"),
        ("postgres://u:p%40canary@[::1]:5432/m", "PostgreSQL m@::1:5432"),
        ("postgres://u@/m?host=a:1&host=b:2", "PostgreSQL m@a:1,b:2"),
        ("postgres://u@/m?host=/run/pg", "PostgreSQL m@/run/pg"),
        ("postgres:///m", "PostgreSQL m@local socket"),
    ],
)
def test_postgresql_and_no_password_in_its_name_h6(text, said):
    location = parse_database_url(text)
    assert isinstance(location, PostgresLocation)
    assert location.url.drivername == "postgresql+psycopg"
    assert str(location) == said
    assert "canary" not in repr(location)


def test_percent_encoding_in_passwords():
    assert parse_database_url("postgres://u:a%2Fb%40c@h/m").url.password == "a/b@c"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "file path is needed"),
        (":memory:", "in-memory"),
        ("sqlite://", "file path is needed"),
        ("sqlite:///:memory:", "in-memory"),
        ("sqlite://host/x.db", "a path only"),
        ("sqlite:///x.db?mode=ro", "a path only"),
        ("mysql://u:canary@h/m", "unknown scheme 'mysql'"),
        ("postgresql+asyncpg://u:canary@h/m", "unknown scheme"),
        ("postgres://u:canary@h", "database name is missing"),
        ("postgres://u:canary@h:port/m", "not a valid postgres URL"),
        ("postgres://u:canary@[::/m", "not a valid postgres URL"),
    ],
)
def test_a_wrong_url_is_explained_and_not_repeated_h6(text, why):
    with pytest.raises(InvalidDatabaseUrlError, match=why) as caught:
        parse_database_url(text)
    assert str(caught.value).startswith("database.url: ")
    assert "canary" not in str(caught.value)
