# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL through psycopg 3, with a deadline on everything the server or the network can do to us."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text

from mezite.storage.backend import Failure, Retry
from mezite.storage.database_url import PostgresLocation
from mezite.storage.errors import (
    ConstraintError,
    DatabaseBusyError,
    DatabaseIoError,
    DatabaseUnreachableError,
    DiskFullError,
    DriverMissingError,
    LoginRefusedError,
    ReadOnlyDatabaseError,
    StorageError,
)

__all__ = ["PostgresBackend", "require_driver"]

# Eight connections for each hub: PostgreSQL's default limit is 100 for all, and a Python process gets no
# faster with more. Half of them write, so that neither kind can starve the other (threat P7).
READERS = 4
WRITERS = 4

# libpq settings, each of which the URL may override (?connect_timeout=3).
_CONNECT_DEFAULTS = {
    "connect_timeout": "5",  # seconds, for each host of the URL
    "application_name": "mezhub",
    "keepalives_idle": "15",  # seconds of silence before the first probe
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",  # ms that sent data may stay unacknowledged (threat I3)
    "target_session_attrs": "read-write",  # of several hosts the primary
    "client_encoding": "utf8",
}

# Milliseconds. No statement of ours should need a second; the rest is for a loaded server.
_SESSION_SETTINGS = {
    "statement_timeout": "30000",
    "lock_timeout": "10000",
    "idle_in_transaction_session_timeout": "60000",
    "timezone": "UTC",
}
# "off" and "local" acknowledge commits that a failover loses (threat I3); stronger settings of the operator
# stay.
_ACKNOWLEDGE_SAFELY = (
    "SELECT set_config('synchronous_commit', 'on', false)"
    " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
)

# Any fixed number; every hub of every version must use the same one.
MIGRATION_LOCK = 7_304_153_882_147
# A migration may rewrite every table while another hub waits for it.
MIGRATION_WAIT = "600s"

_UNDONE = {"40001", "40P01"}
_TIMED_OUT = {"57014", "55P03", "25P03"}
_LOGIN = {"28000", "28P01", "3D000", "42501"}
_IO = {"58030", "58P01", "58P02", "XX001", "XX002"}


def require_driver(name: str = "psycopg") -> None:
    """DriverMissingError with the command to type, when the PostgreSQL driver is not installed."""
    if importlib.util.find_spec(name) is None:
        raise DriverMissingError(
            f"PostgreSQL: the driver {name} is not installed; run: pip install 'mezite[postgres]'"
        )


class PostgresBackend:
    """Implements `Backend`. Connects on first use."""

    reader_count = READERS
    writer_count = WRITERS

    def __init__(self, location: PostgresLocation) -> None:
        require_driver()
        self.description = str(location)
        self._secret = location.url.password or ""
        arguments = {key: value for key, value in _CONNECT_DEFAULTS.items() if key not in location.url.query}
        engine = create_engine(
            location.url,
            hide_parameters=True,
            pool_size=READERS + WRITERS,
            max_overflow=0,
            connect_args=arguments,
        )
        event.listen(engine, "connect", _configure_session)
        self.writer: Engine = engine
        # The pool is shared. A reading transaction sees one snapshot, as it does on SQLite.
        self.reader: Engine = engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def explain(self, error: Exception) -> Failure:
        """Sort by SQLSTATE. Only the server's primary message is used: details hold values of the row."""
        original: Any = getattr(error, "orig", error)
        state = getattr(original, "sqlstate", None)
        if getattr(error, "connection_invalidated", False):
            said = self._message(original)
            lost = DatabaseUnreachableError(f"{self.description}: the connection was lost: {said}")
            return Failure(error=lost, retry=Retry.RECONNECT, drop=True, lost=True)
        if state is None:
            return self._explain_without_state(original)
        said = f"{self.description}: {self._message(original)}"
        if state in _UNDONE:
            return Failure(error=DatabaseBusyError(f"{said}; try again"), retry=Retry.UNDONE)
        if state in _TIMED_OUT:
            return Failure(error=DatabaseBusyError(f"{said}: the server is overloaded or a lock is held"))
        if state in _LOGIN:
            return Failure(
                error=LoginRefusedError(f"{said}: check user, password and database in database.url")
            )
        if state in _IO:
            return Failure(
                error=DatabaseIoError(f"{said}: check the server's disk and log"), drop=True, lost=True
            )
        return _explain_class(state, said)

    def _explain_without_state(self, original: Any) -> Failure:
        """No SQLSTATE: libpq failed before or instead of the server, or psycopg could not use a value.

        libpq gives no code for a refused login, only its text, which a server in another language translates;
        then the error is "unreachable", still with the text.
        """
        said = f"{self.description}: {self._message(original)}"
        if type(original).__name__ == "DataError":
            return Failure(error=StorageError(said))
        refused = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")
        if any(sign in str(original) for sign in refused):
            return Failure(
                error=LoginRefusedError(f"{said}; check user, password and database in database.url")
            )
        return Failure(
            error=DatabaseUnreachableError(f"{said}; check that the server runs and database.url is right"),
            drop=True,
        )

    def _message(self, original: Any) -> str:
        primary = getattr(getattr(original, "diag", None), "message_primary", None)
        said = " ".join(str(primary or original).split())
        return said.replace(self._secret, "***") if self._secret else said

    def before_write(self) -> None:
        """Nothing to do: the server recovers by itself."""

    def after_failure(self, failure: Failure) -> None:
        """Nothing to do: the connection is gone, the server recovers by itself."""

    @contextlib.contextmanager
    def migration_transaction(self) -> Iterator[Connection]:
        """A transaction under an advisory lock, with longer deadlines."""
        with self.writer.begin() as conn:
            conn.execute(text(f"SET LOCAL lock_timeout = '{MIGRATION_WAIT}'"))
            conn.execute(text("SET LOCAL statement_timeout = 0"))
            conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            yield conn

    def dispose(self) -> None:
        """Close all connections."""
        self.writer.dispose()


def _configure_session(connection: Any, _record: object) -> None:
    with connection.cursor() as cursor:
        for name, value in _SESSION_SETTINGS.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor.execute(_ACKNOWLEDGE_SAFELY)
    connection.commit()


def _explain_class(state: str, said: str) -> Failure:
    """By the first characters of SQLSTATE, the error's class."""
    if state == "53100":
        return Failure(error=DiskFullError(f"{said}: no space left on the server's disk; free some"))
    if state.startswith(("08", "53", "57")):
        return Failure(error=DatabaseUnreachableError(f"{said}: the server is not accepting work"), drop=True)
    if state.startswith("23"):
        return Failure(error=ConstraintError(said))
    if state == "25006":
        # After a failover this connection leads to the old primary; a new one finds the new primary.
        return Failure(
            error=ReadOnlyDatabaseError(f"{said}: this is a standby server, or a write inside read()"),
            drop=True,
        )
    return Failure(error=StorageError(f"{said} (SQLSTATE {state})"))
