# SPDX-License-Identifier: Apache-2.0
"""SQLite: one writing connection, a few reading ones, all in write-ahead-log mode with full synchronisation.

synchronous=FULL is what makes an acknowledged commit survive a power loss in WAL mode: with NORMAL most
simulated crash images lost acknowledged rows (threat I1). The price is one fsync for each commit; write many
rows in one transaction.

After a failed fsync the kernel may have dropped the pages and report success the next time, so a WAL that has
seen an I/O error is not trusted: the connection is dropped, and the next one copies the WAL into the database
file, which is synchronised afresh, and truncates it before it accepts a transaction (threat I2).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool, QueuePool

from mezite.storage.backend import Failure
from mezite.storage.database_url import SqliteLocation
from mezite.storage.errors import (
    ConstraintError,
    DatabaseBusyError,
    DatabaseIoError,
    DatabaseUnreachableError,
    DiskFullError,
    MigrationError,
    ReadOnlyDatabaseError,
    StorageError,
)

__all__ = ["SqliteBackend"]

_log = logging.getLogger("mezite.storage")

# How long to wait for another process's transaction (`mezhub bootstrap`, a backup). Our own writers queue in
# Trio.
BUSY_TIMEOUT_MS = 5_000
# A migration may rewrite every table while another hub process waits for it.
MIGRATION_WAIT_MS = 600_000
# Readers are bounded by the interpreter lock anyway: more than this measured no faster.
READERS = 4

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_UNREACHABLE = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}


class SqliteBackend:
    """Implements `Backend`. Creates the file (0600) and, if missing, its directory (0700)."""

    reader_count = READERS
    writer_count = 1

    def __init__(self, location: SqliteLocation, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> None:
        self.description = str(location)
        self._path = location.path
        self._busy_timeout_ms = busy_timeout_ms
        _create_file(self._path)
        self.writer = self._engine(pool_size=1, begin="BEGIN IMMEDIATE", pragmas=_WRITER_PRAGMAS)
        self.reader = self._engine(pool_size=READERS, begin="BEGIN", pragmas=_READER_PRAGMAS)
        self._suspect = threading.Event()

    def _engine(self, *, pool_size: int, begin: str, pragmas: tuple[str, ...]) -> Engine:
        pool: dict[str, Any] = {"poolclass": NullPool}
        if pool_size:
            pool = {"poolclass": QueuePool, "pool_size": pool_size, "max_overflow": 0}
        engine = create_engine(
            URL.create("sqlite+pysqlite", database=str(self._path)),
            hide_parameters=True,
            connect_args={"check_same_thread": False, "timeout": self._busy_timeout_ms / 1000},
            **pool,
        )

        @event.listens_for(engine, "connect")
        def _connected(connection: sqlite3.Connection, _record: object) -> None:
            # None stops the sqlite3 module from opening transactions by itself: ours begin in the "begin"
            # event.
            connection.isolation_level = None
            for pragma in pragmas:
                connection.execute(pragma)

        @event.listens_for(engine, "begin")
        def _begun(conn: Connection) -> None:
            conn.exec_driver_sql(begin)

        return engine

    def explain(self, error: Exception) -> Failure:
        """Sort by SQLite's result code; the text is SQLite's own, which holds no values."""
        original = getattr(error, "orig", error)
        extended = getattr(original, "sqlite_errorcode", None)
        code = None if extended is None else extended & 0xFF
        text = f"{self.description}: {original}"
        if code in _BUSY:
            return Failure(error=DatabaseBusyError(f"{text}: another process is writing to it; try again"))
        if code == sqlite3.SQLITE_FULL:
            return Failure(error=DiskFullError(f"{text}: no space left on the disk; free some"), drop=True)
        if code == sqlite3.SQLITE_IOERR:
            return Failure(
                error=DatabaseIoError(f"{text}: check the disk and the kernel log"), drop=True, lost=True
            )
        if code in _DAMAGED:
            return Failure(error=DatabaseIoError(f"{text}: restore it from a backup"), drop=True, lost=True)
        if code == sqlite3.SQLITE_READONLY:
            return Failure(
                error=ReadOnlyDatabaseError(f"{text}: check its permissions (or a write inside read())"),
                drop=True,
            )
        if code in _UNREACHABLE:
            return Failure(
                error=DatabaseUnreachableError(f"{text}: check path, owner and permissions"), drop=True
            )
        if isinstance(original, sqlite3.IntegrityError):
            return Failure(error=ConstraintError(text))
        return Failure(error=StorageError(text))

    def before_write(self) -> None:
        """After an I/O error: bring the database file up to date and truncate the WAL, or raise."""
        if not self._suspect.is_set():
            return
        with contextlib.closing(self.writer.raw_connection()) as pooled:
            busy, _, _ = pooled.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            error = sqlite3.OperationalError("the log could not be flushed while others read")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error
        self._suspect.clear()
        _log.warning("%s: recovered after an I/O error", self.description)

    def after_failure(self, failure: Failure) -> None:
        """Distrust the log after an I/O error."""
        if failure.lost or isinstance(failure.error, DiskFullError):
            self._suspect.set()

    @contextlib.contextmanager
    def migration_transaction(self) -> Iterator[Connection]:
        """BEGIN IMMEDIATE on a connection of its own, without foreign keys.

        Changing a table may mean copying it.
        """
        pragmas = (
            *_WRITER_PRAGMAS,
            "PRAGMA foreign_keys = OFF",
            f"PRAGMA busy_timeout = {MIGRATION_WAIT_MS}",
        )
        engine = self._engine(pool_size=0, begin="BEGIN IMMEDIATE", pragmas=pragmas)
        with engine.begin() as conn:
            yield conn
            if broken := conn.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise MigrationError(f"{self.description}: rows of table {broken[0]} refer to missing rows")

    def dispose(self) -> None:
        """Close; the last connection folds the log into the database file."""
        self.reader.dispose()
        self.writer.dispose()


_COMMON_PRAGMAS = (
    "PRAGMA foreign_keys = ON",
    # A page of another process's making can be hostile; SQLite then does not trust the schema's functions.
    "PRAGMA trusted_schema = OFF",
)
_WRITER_PRAGMAS = (*_COMMON_PRAGMAS, "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL")
_READER_PRAGMAS = (*_COMMON_PRAGMAS, "PRAGMA query_only = ON")


def _create_file(path: Path) -> None:
    """Create what is missing with tight modes from the first moment (threat F7).

    SQLite's -wal and -shm copy them.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        mode = path.stat().st_mode
    except OSError as error:
        raise DatabaseUnreachableError(
            f"SQLite {path}: cannot create it: {error.strerror}; check the path and its owner"
        ) from None
    if not stat.S_ISREG(mode):
        raise DatabaseUnreachableError(f"SQLite {path}: not a regular file")
    if mode & 0o077:
        _log.warning("SQLite %s: others may read it (mode %03o); run: chmod 600 %s", path, mode & 0o777, path)
