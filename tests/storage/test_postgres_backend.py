# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

import pytest
import trio
from sqlalchemy import text

from mezite.storage import users
from mezite.storage.database import Database
from mezite.storage.errors import (
    DatabaseBusyError,
    DatabaseIoError,
    DatabaseUnreachableError,
    DiskFullError,
    DriverMissingError,
    LoginRefusedError,
    ReadOnlyDatabaseError,
    StorageError,
)
from mezite.storage.postgres_backend import require_driver
from mezite.storage.users import NewUser


async def setting(db, name):
    return await db.write(lambda conn: conn.execute(text(f"SHOW {name}")).scalar())


async def test_every_connection_has_deadlines(postgres_db):
    assert await setting(postgres_db, "statement_timeout") == "30s"
    assert await setting(postgres_db, "lock_timeout") == "10s"
    assert await setting(postgres_db, "idle_in_transaction_session_timeout") == "1min"
    assert await setting(postgres_db, "tcp_user_timeout") == "0"  # the server's; ours is the client's
    assert await setting(postgres_db, "application_name") == "mezhub"


async def test_the_url_has_the_last_word_on_libpq_settings(postgres_url):
    async with await Database.open(postgres_url + "?application_name=hub-7&connect_timeout=3") as db:
        assert await setting(db, "application_name") == "hub-7"


@pytest.mark.parametrize(
    ("configured", "used"), [("off", "on"), ("local", "on"), ("on", "on"), ("remote_apply", "remote_apply")]
)
async def test_commits_are_never_acknowledged_too_early_i3(empty_postgres_url, postgres, configured, used):
    name = empty_postgres_url.rpartition("/")[2]
    postgres.execute(f"ALTER DATABASE {name} SET synchronous_commit = {configured}")
    async with await Database.open(empty_postgres_url, migrate=False) as db:
        assert await setting(db, "synchronous_commit") == used


async def test_a_wrong_password_is_refused_and_not_shown_h6(postgres):
    with pytest.raises(LoginRefusedError, match='password authentication failed for user "mezite"') as caught:
        await Database.open(postgres.url("migrated", password="canary-password"))
    assert "check user, password and database" in str(caught.value)
    assert "canary" not in repr(caught.value)


async def test_a_password_that_is_echoed_is_masked_h6(postgres):
    """libpq repeats the host name in its message; here it equals the password."""
    with pytest.raises(DatabaseUnreachableError, match=r"\*\*\*") as caught:
        await Database.open("postgres://mezite:canary.invalid@h/x?host=canary.invalid&connect_timeout=2")
    said = str(caught.value).split(": ", 1)[1]
    assert "canary" not in said


async def test_an_unknown_database_is_named(postgres):
    with pytest.raises(LoginRefusedError, match='database "nothing_here" does not exist'):
        await Database.open(postgres.url("nothing_here"))


async def test_nobody_listens():
    with pytest.raises(DatabaseUnreachableError, match="Connection refused") as caught:
        await Database.open("postgres://mezite:canary@127.0.0.1:1/mezite")
    assert "check that the server runs" in str(caught.value)
    assert "canary" not in str(caught.value)


async def test_a_server_that_does_not_answer_has_a_deadline():
    """It accepts and says nothing."""

    async def say_nothing(_stream):
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, say_nothing, [listener])
        port = listener.socket.getsockname()[1]
        with pytest.raises(DatabaseUnreachableError, match="timeout"):
            await Database.open(f"postgres://u@127.0.0.1:{port}/m?connect_timeout=2")
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("53100", DiskFullError),
        ("53300", DatabaseUnreachableError),
        ("57P03", DatabaseUnreachableError),
        ("58030", DatabaseIoError),
        ("XX001", DatabaseIoError),
        ("25006", ReadOnlyDatabaseError),
        ("28000", LoginRefusedError),
        ("42501", LoginRefusedError),
        ("55P03", DatabaseBusyError),
        ("22012", StorageError),
    ],
)
async def test_errors_by_their_state(postgres_db, state, error):
    """The server raises them, with a detail that must not come through."""
    statement = f"""DO $$ BEGIN
        RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}', DETAIL = 'canary';
    END $$"""
    with pytest.raises(error, match="on purpose") as caught:
        await postgres_db.write(lambda conn: conn.exec_driver_sql(statement) and None)
    assert type(caught.value) is error
    assert "canary" not in str(caught.value)
    assert await postgres_db.read(users.count) == 0


async def test_a_slow_statement_and_a_held_lock_have_deadlines(postgres_db):
    def slow(conn):
        conn.execute(text("SET LOCAL statement_timeout = '5ms'"))
        conn.execute(text("SELECT pg_sleep(10)"))

    def locked(conn):
        conn.execute(text("LOCK TABLE users"))
        with conn.engine.connect() as other, other.begin():
            other.execute(text("SET LOCAL lock_timeout = '5ms'"))
            other.execute(text("SELECT * FROM users"))

    for function in (slow, locked):
        with pytest.raises(DatabaseBusyError, match="timeout"):
            await postgres_db.write(function)


async def test_values_that_postgresql_cannot_hold(postgres_db):
    with pytest.raises(StorageError, match="NUL"):
        await postgres_db.write(users.insert, user=NewUser(name="a\0b"), now=1)
    assert await postgres_db.read(users.count) == 0


def test_a_missing_driver_says_what_to_type():
    require_driver()
    with pytest.raises(DriverMissingError, match=r"pip install 'mezite\[postgres\]'"):
        require_driver("a_driver_that_is_not_installed")


def test_without_the_driver_sqlite_works_and_postgresql_says_why(tmp_path, environment):
    script = f"""
import sys, trio
sys.modules["psycopg"] = None
from mezite.storage.database import Database
from mezite.storage.errors import DriverMissingError

async def main():
    async with await Database.open({str(tmp_path / "x.db")!r}) as db:
        await db.check()
    try:
        await Database.open("postgres://u@127.0.0.1/m")
    except DriverMissingError as error:
        print(error)

trio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, env=environment
    )
    assert "pip install 'mezite[postgres]'" in done.stdout
