# SPDX-License-Identifier: Apache-2.0
"""What SQLite and PostgreSQL do differently, and one transaction on either, as plain blocking calls.

Everything here runs in a worker thread; `database.Database` is the Trio side.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

import attrs
from sqlalchemy.exc import DBAPIError

from mezite.storage.errors import CommitOutcomeUnknownError, StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Backend", "FailedTransactionError", "Failure", "Retry", "run_transaction"]

T = TypeVar("T")


class Retry(enum.Enum):
    """Whether the same transaction may be sent again. In each case nothing of it has been stored."""

    NEVER = "never"
    UNDONE = "undone"
    """The database undid it for the sake of another one (serialization failure, deadlock)."""
    RECONNECT = "reconnect"
    """The connection was gone, typically since the database restarted; a new one may work."""


@attrs.frozen(kw_only=True)
class Failure:
    """A driver's exception in our words.

    `drop`: the connection must not be used again (threat I2). `lost`: when this happened during a commit,
    nobody knows whether the commit happened (threat I3).
    """

    error: StorageError
    retry: Retry = Retry.NEVER
    drop: bool = False
    lost: bool = False


class FailedTransactionError(Exception):
    """Carries a Failure out of the worker thread; never seen by users of Database."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(str(failure.error))
        self.failure = failure


class Backend(Protocol):
    """One database, with an engine for reading and one for writing."""

    @property
    def description(self) -> str:
        """The database in words, without a password."""

    @property
    def reader(self) -> Engine:
        """Connections that see one snapshot for each transaction and cannot write."""

    @property
    def writer(self) -> Engine:
        """Connections that can write."""

    @property
    def reader_count(self) -> int:
        """How many transactions may read at once."""

    @property
    def writer_count(self) -> int:
        """How many transactions may write at once."""

    def explain(self, error: Exception) -> Failure:
        """Translate an exception of the driver, plain or wrapped by SQLAlchemy."""

    def before_write(self) -> None:
        """Called ahead of each writing transaction; may raise the driver's exceptions."""

    def after_failure(self, failure: Failure) -> None:
        """Called after a failed writing transaction whose connection has been given up."""

    def migration_transaction(self) -> AbstractContextManager[Connection]:
        """A transaction that holds the migration lock.

        Several hubs get it one after the other (threat I5).
        """

    def dispose(self) -> None:
        """Close all connections."""


def run_transaction(backend: Backend, engine: Engine, call: Callable[[Connection], T]) -> T:
    """Run `call` as one transaction: commit when it returns, roll back when it raises.

    FailedTransactionError carries what the database said; what `call` raises by itself comes out as it is.
    """
    committing = False
    driver_errors = (DBAPIError, engine.dialect.loaded_dbapi.Error)
    try:
        if engine is backend.writer:
            backend.before_write()
        with engine.connect() as conn:
            try:
                transaction = conn.begin()
                result = call(conn)
                committing = True
                transaction.commit()
            except driver_errors as error:
                if backend.explain(error).drop:
                    conn.invalidate()
                raise
            return result
    except driver_errors as error:
        # Not chained: drivers put the failing row into their messages (threat H6).
        failure = backend.explain(error)
    if engine is backend.writer:
        backend.after_failure(failure)
    raise FailedTransactionError(_outcome(failure, committing=committing, database=backend.description))


def _outcome(failure: Failure, *, committing: bool, database: str) -> Failure:
    if not (committing and failure.lost):
        return failure
    text = (
        f"{database}: the connection failed during a commit, which may have happened or not: {failure.error}"
    )
    return attrs.evolve(failure, error=CommitOutcomeUnknownError(text), retry=Retry.NEVER)
