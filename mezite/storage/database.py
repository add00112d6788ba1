# SPDX-License-Identifier: Apache-2.0
"""`Database`: plain functions on a connection, each run as one transaction in a worker thread.

No driver for Trio exists, and a thread hop costs about 0.1 ms: so a whole transaction is one hop. `fn(conn,
...)` gets a SQLAlchemy connection in an open transaction, which commits when `fn` returns and rolls back when
it raises. `fn` must do nothing but talk to `conn`: it may be run again (below).

Threads and cancelling (threats P7, P8)
    Reads and writes have limiters of their own, apart from Trio's default pool and from each other.
    Cancelling a call that waits for a slot leaves nothing behind. Once its transaction has begun, a call is
    never abandoned: it finishes, returns its result even to a cancelled task, and the cancellation shows at
    that task's next checkpoint.

Deadlines
    A free slot: 30 s, then DatabaseBusyError. SQLite: 5 s for another process's lock. PostgreSQL: 5 s to
    connect, 10 s for a lock, 30 s for a statement, 20 s for a server that does not answer.

Running again
    A transaction that PostgreSQL undid (serialization failure, deadlock) is run up to 5 times, and one that
    met a dead connection before its commit was sent once more on a new one. A commit whose outcome nobody
    knows is never repeated: CommitOutcomeUnknownError leaves that to callers whose rows have ids made by us
    (threat I3).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import attrs
import trio
from sqlalchemy import Connection, text

from mezite.storage.backend import Backend, FailedTransactionError, Failure, Retry, run_transaction
from mezite.storage.database_url import PostgresLocation, SqliteLocation, parse_database_url
from mezite.storage.errors import DatabaseBusyError, DatabaseClosedError, StorageError
from mezite.storage.migrations import upgrade
from mezite.storage.postgres_backend import PostgresBackend
from mezite.storage.sqlite_backend import SqliteBackend

if TYPE_CHECKING:
    from types import TracebackType

    from sqlalchemy import Engine

__all__ = ["Database", "DatabaseStatistics"]

P = ParamSpec("P")
T = TypeVar("T")

# A queue this old means the database is stuck or the hub overloaded; clients have given up by then.
SLOT_WAIT_SECONDS = 30.0
# Two hubs that collide part on the first or second try; more is a design fault worth an error.
UNDONE_ATTEMPTS = 5
RETRY_DELAY_SECONDS = 0.02


@attrs.frozen(kw_only=True)
class DatabaseStatistics:
    """How busy it is.

    Transactions running and waiting for a slot, and the last I/O failure not yet recovered from.
    """

    reads_running: int
    reads_waiting: int
    writes_running: int
    writes_waiting: int
    failure: StorageError | None


@attrs.define(eq=False)
class Database:
    """A database that is open and migrated. Make it with `open()`.

    Also an async context manager that closes it.
    """

    _backend: Backend
    _read_slots: trio.CapacityLimiter
    _write_slots: trio.CapacityLimiter
    _running: int = 0
    _closed: bool = False
    _idle: trio.Event = attrs.field(factory=trio.Event)
    _failure: StorageError | None = None

    @classmethod
    async def open(cls, url: str | os.PathLike[str], *, migrate: bool = True) -> Database:
        """Open and, unless told not to, migrate to this version's schema; for SQLite create the file when
        missing.

        `url`: see `database_url.parse_database_url`. Raises InvalidDatabaseUrlError, DriverMissingError,
        DatabaseUnreachableError, LoginRefusedError, SchemaTooNewError, MigrationError and other
        StorageErrors. Hubs that open at once wait for the one that migrates. A cancel is acted on when that
        is done.
        """
        location = parse_database_url(url)
        backend = await trio.to_thread.run_sync(
            _open_backend, location, migrate, limiter=trio.CapacityLimiter(1)
        )
        return cls(
            backend, trio.CapacityLimiter(backend.reader_count), trio.CapacityLimiter(backend.writer_count)
        )

    async def __aenter__(self) -> Database:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.aclose()

    @property
    def description(self) -> str:
        """The database in words, without a password."""
        return self._backend.description

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._backend.writer.dialect.name

    async def read(self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn(conn, *args, **kwargs)` on one snapshot of the database; writing raises
        ReadOnlyDatabaseError.

        Raises DatabaseBusyError, DatabaseUnreachableError and other StorageErrors, and what `fn` raises.
        """
        call = partial(_call, fn, args, kwargs)
        return await self._transaction(self._backend.reader, self._read_slots, call)

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `fn(conn, *args, **kwargs)` and commit: when this returns, the changes survive a crash.

        `fn` may run more than once, see the module's text. Raises as `read`, also DiskFullError,
        DatabaseIoError, ConstraintError, ReadOnlyDatabaseError and CommitOutcomeUnknownError.
        """
        call = partial(_call, fn, args, kwargs)
        result = await self._transaction(self._backend.writer, self._write_slots, call)
        self._failure = None
        return result

    async def check(self) -> None:
        """Ask the database for a sign of life; raises like `read`."""
        await self.read(_select_one)

    def statistics(self) -> DatabaseStatistics:
        """A picture of now."""
        reads, writes = self._read_slots.statistics(), self._write_slots.statistics()
        return DatabaseStatistics(
            reads_running=reads.borrowed_tokens,
            reads_waiting=reads.tasks_waiting,
            writes_running=writes.borrowed_tokens,
            writes_waiting=writes.tasks_waiting,
            failure=self._failure,
        )

    async def aclose(self) -> None:
        """Refuse new calls, wait for running transactions (each has deadlines), close. Idempotent.

        Not cut short by a cancel.
        """
        self._closed = True
        with trio.CancelScope(shield=True):
            if self._running:
                await self._idle.wait()
            await trio.to_thread.run_sync(self._backend.dispose, limiter=trio.CapacityLimiter(1))
        await trio.lowlevel.checkpoint()

    async def _transaction(
        self, engine: Engine, slots: trio.CapacityLimiter, call: Callable[[Connection], T]
    ) -> T:
        undone = reconnected = 0
        while True:
            try:
                return await self._attempt(engine, slots, call)
            except FailedTransactionError as failed:
                failure = failed.failure
            if failure.retry is Retry.UNDONE and undone + 1 < UNDONE_ATTEMPTS:
                undone += 1
                await trio.sleep(RETRY_DELAY_SECONDS * undone * random.uniform(0.5, 1.5))  # noqa: S311
            elif failure.retry is Retry.RECONNECT and not reconnected:
                reconnected += 1
            else:
                self._note(failure)
                raise failure.error

    async def _attempt(
        self, engine: Engine, slots: trio.CapacityLimiter, call: Callable[[Connection], T]
    ) -> T:
        if self._closed:
            raise DatabaseClosedError(f"{self.description}: closed")
        self._running += 1
        try:
            # The deadline can only strike while the call waits for a slot: a running thread is not abandoned.
            with trio.move_on_after(SLOT_WAIT_SECONDS):
                return await trio.to_thread.run_sync(
                    run_transaction, self._backend, engine, call, limiter=slots
                )
        finally:
            self._leave()
        waited = f"no free database connection within {SLOT_WAIT_SECONDS:g} s"
        raise DatabaseBusyError(f"{self.description}: {waited}; the database is slow or the hub overloaded")

    def _leave(self) -> None:
        self._running -= 1
        if self._closed and not self._running:
            self._idle.set()

    def _note(self, failure: Failure) -> None:
        if failure.drop:
            self._failure = failure.error


def _open_backend(location: SqliteLocation | PostgresLocation, migrate: bool) -> Backend:
    backend = _backend_for(location)
    try:
        try:
            if migrate:
                upgrade(backend)
            run_transaction(backend, backend.writer, _select_one)
        except FailedTransactionError as failed:
            raise failed.failure.error from None
    except BaseException:
        backend.dispose()
        raise
    return backend


def _backend_for(location: SqliteLocation | PostgresLocation) -> Backend:
    if isinstance(location, PostgresLocation):
        return PostgresBackend(location)
    return SqliteBackend(location)


def _call(fn: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], conn: Connection) -> T:
    return fn(conn, *args, **kwargs)


def _select_one(conn: Connection) -> None:
    conn.execute(text("SELECT 1"))
