# SPDX-License-Identifier: Apache-2.0
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from mezite.storage import migrations, users
from mezite.storage.database import Database
from mezite.storage.errors import MigrationError, SchemaTooNewError
from mezite.storage.migrations import REVISIONS, current_revision
from mezite.storage.schema import metadata
from mezite.storage.users import NewUser

HUB = """
import sys, trio
from mezite.storage.database import Database

async def main():
    sys.stdin.readline()
    async with await Database.open(sys.argv[1]) as db:
        await db.check()

trio.run(main)
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request):
    """A database that was never migrated."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("tmp_path") / "new.db")
    return request.getfixturevalue("empty_postgres_url")


def tables(conn):
    return set(inspect(conn).get_table_names())


def test_the_known_revisions_are_the_files_in_order():
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)
    assert scripts.get_heads() == [REVISIONS[-1]]
    assert list(REVISIONS) == sorted(REVISIONS)


async def test_from_empty_and_a_second_time(empty_url):
    async with await Database.open(empty_url) as db:
        assert await db.read(current_revision) == REVISIONS[-1]
        assert await db.read(tables) == {*metadata.tables, "alembic_version"}
        await db.write(users.insert, user=NewUser(name="alice"), now=1)
    async with await Database.open(empty_url) as db:
        assert await db.read(users.count) == 1


async def test_the_migrated_schema_is_the_schema_in_the_code(db):
    def differences(conn):
        return compare_metadata(MigrationContext.configure(conn, opts={"compare_type": True}), metadata)

    assert await db.read(differences) == []


def definitions(conn):
    """What autogenerate does not compare: conditions of partial indexes, checks, references."""
    inspector = inspect(conn)
    found = {}
    condition = f"{conn.dialect.name}_where"
    for table in metadata.tables:
        checks = {(one["name"], one["sqltext"]) for one in inspector.get_check_constraints(table)}
        keys = {
            (one["name"], one["referred_table"], one["options"].get("ondelete"))
            for one in inspector.get_foreign_keys(table)
        }
        partial = {
            (
                one["name"],
                one["unique"],
                tuple(one["column_names"]),
                str(one["dialect_options"].get(condition)),
            )
            for one in inspector.get_indexes(table)
        }
        found[table] = (checks, keys, partial, inspector.get_pk_constraint(table))
    return found


async def test_constraints_and_partial_indexes_are_those_in_the_code(db, request, tmp_path):
    """The same tables made by `metadata.create_all` look the same to the database."""
    sqlite = db.dialect == "sqlite"
    url = tmp_path / "created.db" if sqlite else request.getfixturevalue("empty_postgres_url")
    async with await Database.open(url, migrate=False) as created:
        await created.write(metadata.create_all)
        assert await created.read(current_revision) is None
        assert await db.read(definitions) == await created.read(definitions)


async def test_three_hubs_at_once_migrate_once_i5(empty_url, environment):
    """Three processes wait for one line, then open the same empty database."""
    command = [sys.executable, "-W", "error", "-c", HUB, empty_url]
    async with trio.open_nursery() as nursery:
        hubs = [
            await nursery.start(partial(trio.run_process, command, stdin=subprocess.PIPE, env=environment))
            for _ in range(3)
        ]
        for hub in hubs:
            await hub.stdin.send_all(b"go\n")
    async with await Database.open(empty_url) as db:
        versions = await db.read(
            lambda conn: list(conn.execute(text("SELECT * FROM alembic_version")).scalars())
        )
        assert versions == [REVISIONS[-1]]


async def test_several_in_one_process_at_once(tmp_path):
    """Alembic keeps the running migration in module globals."""

    async def open_and_close(number):
        async with await Database.open(tmp_path / f"{number}.db") as db:
            await db.check()

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(open_and_close, number)


async def test_a_newer_database_is_refused_with_advice_i5(db, database_url):
    await db.write(lambda conn: conn.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    try:
        with pytest.raises(
            SchemaTooNewError, match=r"schema 9999 is newer .* \(\d{4}\); upgrade mezite"
        ) as caught:
            await Database.open(database_url)
        assert "canary" not in str(caught.value)
    finally:
        await db.write(
            lambda conn: conn.execute(text(f"UPDATE alembic_version SET version_num = '{REVISIONS[-1]}'"))
        )


async def test_a_failing_migration_leaves_nothing_behind(empty_url):
    """Somebody else's table is in the way."""
    async with await Database.open(empty_url, migrate=False) as db:
        await db.write(lambda conn: conn.execute(text("CREATE TABLE audit_events (mine text)")))
    with pytest.raises(MigrationError, match=r"rolled back: .*audit_events.* already exists"):
        await Database.open(empty_url)
    async with await Database.open(empty_url, migrate=False) as db:
        assert await db.read(tables) == {"audit_events"}


async def test_rows_that_refer_to_nothing_stop_a_migration(tmp_path):
    """SQLite's foreign keys are off while a migration runs, so they are checked at its end."""
    async with await Database.open(tmp_path / "x.db", migrate=False) as db:
        statements = (
            "PRAGMA defer_foreign_keys = ON",
            "CREATE TABLE parents (id integer primary key)",
            "CREATE TABLE children (parent integer references parents(id))",
            "INSERT INTO parents VALUES (1)",
            "INSERT INTO children VALUES (1)",
        )
        await db.write(lambda conn: [conn.execute(text(statement)) for statement in statements])
    outside = sqlite3.connect(tmp_path / "x.db")
    outside.execute("DELETE FROM parents")
    outside.commit()
    outside.close()
    with pytest.raises(MigrationError, match="rows of table children refer to missing rows"):
        await Database.open(tmp_path / "x.db")


async def test_a_version_table_without_a_row_is_an_empty_database(tmp_path):
    async with await Database.open(tmp_path / "x.db", migrate=False) as db:
        await db.write(lambda conn: conn.execute(text("CREATE TABLE alembic_version (version_num text)")))
        assert await db.read(current_revision) is None


def test_the_migrations_are_packaged():
    """Hatch packs every file of the package; what Alembic needs is Python files in it."""
    here = Path(migrations.__file__).parent
    assert (here / "env.py").is_file()
    assert len(list((here / "versions").glob("r[0-9][0-9][0-9][0-9]_*.py"))) == len(REVISIONS)
