# SPDX-License-Identifier: Apache-2.0
import logging
import shutil
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from sqlalchemy import text

from mezite.storage import audit_events, users
from mezite.storage.backend import FailedTransactionError, run_transaction
from mezite.storage.database import Database
from mezite.storage.database_url import SqliteLocation
from mezite.storage.errors import (
    DatabaseBusyError,
    DatabaseIoError,
    DatabaseUnreachableError,
    DiskFullError,
)
from mezite.storage.sqlite_backend import SqliteBackend
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
WRITER = Path(__file__).with_name("writer.py")


def pragma(name):
    return lambda conn: conn.execute(text(f"PRAGMA {name}")).scalar()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_writer_synchronises_and_readers_cannot_write_i1(sqlite_db):
    assert await sqlite_db.write(pragma("journal_mode")) == "wal"
    assert await sqlite_db.write(pragma("synchronous")) == 2  # FULL
    for call in (sqlite_db.read, sqlite_db.write):
        assert await call(pragma("foreign_keys")) == 1
        assert await call(pragma("trusted_schema")) == 0
        assert await call(pragma("busy_timeout")) == 5000
    assert await sqlite_db.read(pragma("query_only")) == 1


async def test_a_new_file_and_its_directory_are_private_f7(tmp_path):
    path = tmp_path / "data" / "mezhub.db"
    async with await Database.open(path) as db:
        await db.write(users.insert, user=NewUser(name="a"), now=NOW)
        assert mode(path.parent) == 0o700
        files = {one.name: mode(one) for one in path.parent.iterdir()}
        assert files == {"mezhub.db": 0o600, "mezhub.db-wal": 0o600, "mezhub.db-shm": 0o600}


def test_modes_do_not_depend_on_the_umask_f7(tmp_path, environment):
    script = "import os, sys, trio; from mezite.storage.database import Database; os.umask(0)\n"
    script += "async def main():\n  async with await Database.open(sys.argv[1]): pass\ntrio.run(main)"
    path = tmp_path / "data" / "mezhub.db"
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, env=environment)
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


async def test_a_file_that_others_may_read_is_reported(sqlite_path, caplog):
    sqlite_path.chmod(0o644)
    with caplog.at_level(logging.WARNING, "mezite.storage"):
        async with await Database.open(sqlite_path):
            pass
    assert f"others may read it (mode 644); run: chmod 600 {sqlite_path}" in caplog.text


async def test_only_one_directory_is_made(tmp_path):
    with pytest.raises(DatabaseUnreachableError, match="cannot create it: No such file or directory"):
        await Database.open(tmp_path / "no" / "such" / "x.db")


async def test_a_directory_is_no_database(tmp_path):
    with pytest.raises(DatabaseUnreachableError, match="not a regular file"):
        await Database.open(tmp_path)


@pytest.mark.parametrize("content", [b"this is not a database" * 100, b"\0" * 5000])
async def test_garbage_is_not_overwritten(tmp_path, content):
    path = tmp_path / "x.db"
    path.write_bytes(content)
    with pytest.raises(DatabaseIoError, match=r"not a database.*restore it from a backup"):
        await Database.open(path)
    assert path.read_bytes() == content


async def test_garbage_is_found_without_migrating_too(tmp_path):
    path = tmp_path / "x.db"
    path.write_bytes(b"this is not a database" * 100)
    with pytest.raises(DatabaseIoError, match="not a database"):
        await Database.open(path, migrate=False)


def test_a_file_that_vanished(tmp_path):
    path = tmp_path / "data" / "x.db"
    backend = SqliteBackend(SqliteLocation(path))
    shutil.rmtree(path.parent)
    with pytest.raises(FailedTransactionError) as caught:
        run_transaction(backend, backend.writer, users.count)
    assert isinstance(caught.value.failure.error, DatabaseUnreachableError)
    backend.dispose()


def test_another_processes_lock_has_a_deadline(sqlite_path):
    backend = SqliteBackend(SqliteLocation(sqlite_path), busy_timeout_ms=10)
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(FailedTransactionError) as caught:
            run_transaction(backend, backend.writer, users.count)
        assert isinstance(caught.value.failure.error, DatabaseBusyError)
        assert "another process is writing" in str(caught.value)
        assert run_transaction(backend, backend.reader, users.count) == 0
        other.execute("ROLLBACK")
        assert run_transaction(backend, backend.writer, users.count) == 0
    finally:
        other.close()
        backend.dispose()


def fill_the_disk(conn):
    """SQLite reports a full disk when a limit of its own is reached, too."""
    pages = conn.execute(text("PRAGMA page_count")).scalar()
    conn.execute(text(f"PRAGMA max_page_count = {pages}"))
    conn.execute(text("CREATE TABLE big AS SELECT zeroblob(100000) AS b"))


async def test_a_full_disk_undoes_and_heals_h7(sqlite_db, caplog):
    await sqlite_db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    with pytest.raises(DiskFullError, match="free some"):
        await sqlite_db.write(fill_the_disk)
    assert isinstance(sqlite_db.statistics().failure, DiskFullError)
    # The next transaction has a new connection (the limit was the old one's), after the log was flushed.
    with caplog.at_level(logging.WARNING, "mezite.storage"):
        await sqlite_db.write(users.insert, user=NewUser(name="bob"), now=NOW)
    assert "recovered after an I/O error" in caplog.text
    assert sqlite_db.statistics().failure is None
    assert await sqlite_db.read(users.count) == 2


def test_after_an_error_nothing_is_written_until_the_log_is_flushed_i2(sqlite_path):
    """A reader of another process that stays in the log keeps it from being truncated."""
    backend = SqliteBackend(SqliteLocation(sqlite_path), busy_timeout_ms=10)
    other = sqlite3.connect(sqlite_path, isolation_level=None)
    try:
        run_transaction(
            backend, backend.writer, lambda conn: users.insert(conn, user=NewUser(name="a"), now=1)
        )
        other.execute("BEGIN")
        assert other.execute("SELECT count(*) FROM users").fetchone() == (1,)
        with pytest.raises(FailedTransactionError):
            run_transaction(backend, backend.writer, fill_the_disk)
        with pytest.raises(FailedTransactionError, match="could not be flushed") as caught:
            run_transaction(backend, backend.writer, users.count)
        assert isinstance(caught.value.failure.error, DatabaseBusyError)
        other.execute("ROLLBACK")
        assert run_transaction(backend, backend.writer, users.count) == 1
    finally:
        other.close()
        backend.dispose()


def promised(lines):
    """The sequence numbers that the writer was told are stored."""
    numbers = set()
    for line in lines:
        word, *rest = line.split()
        if word == "ok":
            numbers.update(range(int(rest[0]), int(rest[1]) + 1))
    return numbers


async def stored(path):
    async with await Database.open(path) as db:
        assert await db.read(pragma("integrity_check")) == "ok"
        return await db.read(lambda conn: [row.seq for row in audit_events.iterate(conn, hub_id="hub-1")])


@pytest.mark.parametrize("groups_before", [1, 2, 5, 23])
def test_a_killed_writer_loses_no_acknowledged_row_i1_t5(tmp_path, environment, groups_before):
    """SIGKILL as soon as some groups are acknowledged, with the next commits on their way."""
    path = tmp_path / "x.db"
    command = [sys.executable, str(WRITER), str(path), "1000000", "FULL"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as writer:
        assert writer.stdout.readline() == "open\n"
        lines = [writer.stdout.readline() for _ in range(groups_before)]
        writer.kill()
        lines += writer.stdout.readlines()
    wanted = promised(lines)
    assert len(wanted) >= groups_before
    found = trio.run(stored, path)
    assert wanted <= set(found)
    # Whole groups only, in order, and at most the one whose acknowledgement was not written.
    assert found == list(range(1, len(found) + 1))
    assert len(found) in (len(wanted), len(wanted) + 20)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("call", "occurrence"),
    [("fdatasync", 5), ("fdatasync", 8), ("pwrite64", 60), ("pwrite64", 61), ("pwrite64", 75)],
)
def test_a_failing_disk_loses_no_acknowledged_row_i2_t5(tmp_path, environment, call, occurrence):
    """One system call of the writer fails with EIO; what was acknowledged before and after is there."""
    path = tmp_path / "x.db"
    trio.run(stored, path)
    inject = f"inject={call}:error=EIO:when={occurrence}"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", str(tmp_path / "trace"), "-e", f"trace={call}", "-e", inject,
         sys.executable, str(WRITER), str(path), "12", "FULL"],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )  # fmt: skip
    assert "(INJECTED)" in (tmp_path / "trace").read_text()
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("failed")]
    assert len(failed) == 1
    assert failed[0].split()[1] in ("CommitOutcomeUnknownError", "DatabaseIoError")
    assert lines[-1] == "closed"
    wanted = promised(lines)
    assert len(wanted) == 11 * 20
    assert wanted <= set(trio.run(stored, path))


def unsynchronised_promises(trace):
    """How many `ok` lines were written without a synchronisation since the line before."""
    unsafe, synchronised = 0, True
    for line in trace.splitlines():
        if "fdatasync" in line and line.endswith("= 0"):
            synchronised = True
        if 'write(1, "ok ' in line:
            unsafe += not synchronised
            synchronised = False
    return unsafe


@pytest.mark.e2e
@pytest.mark.parametrize(("level", "unsafe"), [("FULL", 0), ("NORMAL", 11)])
def test_every_promise_follows_a_synchronisation_i1(tmp_path, environment, level, unsafe):
    """NORMAL is the negative control: what a power loss would take is found by this test."""
    trace = tmp_path / "trace"
    subprocess.run(
        ["strace", "-f", "-qq", "-o", str(trace), "-e", "trace=fdatasync,write",
         sys.executable, str(WRITER), str(tmp_path / "x.db"), "12", level],
        check=True,
        capture_output=True,
        env=environment,
    )  # fmt: skip
    text_of_trace = trace.read_text()
    assert text_of_trace.count('write(1, "ok ') == 12
    assert unsynchronised_promises(text_of_trace) == unsafe
