# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with the database, in words for the person who runs the hub.

The texts never hold a password, an SQL parameter or a row's content (threat H6): drivers put failing rows
into their messages, so only their primary message is taken over, and the driver's exception is not chained.

    StorageError
     +- InvalidDatabaseUrlError     the setting cannot be understood
     +- DriverMissingError          psycopg is not installed
     +- DatabaseUnreachableError    no connection, or it broke before the commit
     +- LoginRefusedError           the database does not accept these credentials
     +- DatabaseBusyError           locked, too slow, or no free slot within the deadline
     +- DiskFullError               nothing was written
     +- DatabaseIoError             the disk failed, or the file is damaged
     +- ReadOnlyDatabaseError       a standby, or a file without write permission
     +- CommitOutcomeUnknownError   the connection broke while committing
     +- SchemaTooNewError           a newer mezite has migrated this database
     +- MigrationError              a migration could not be applied
     +- DatabaseClosedError         used after aclose()
     +- ConstraintError             the schema refused a row
     +- AlreadyExistsError          its key is taken
     |   +- NameTakenError          the node name belongs to another agent
     +- NotFoundError               the row to change does not exist
     +- StaleStateError             the row was changed by somebody else meanwhile
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin

__all__ = [
    "AlreadyExistsError",
    "CommitOutcomeUnknownError",
    "ConstraintError",
    "DatabaseBusyError",
    "DatabaseClosedError",
    "DatabaseIoError",
    "DatabaseUnreachableError",
    "DiskFullError",
    "DriverMissingError",
    "InvalidDatabaseUrlError",
    "LoginRefusedError",
    "MigrationError",
    "NameTakenError",
    "NotFoundError",
    "ReadOnlyDatabaseError",
    "SchemaTooNewError",
    "StaleStateError",
    "StorageError",
]


class StorageError(DontWrapMixin, Exception):
    """The database could not do what was asked; the text says why and, where we know it, what to do."""


class InvalidDatabaseUrlError(StorageError):
    """`database.url` is neither a path nor a URL we know."""


class DriverMissingError(StorageError):
    """The URL needs a driver that is not installed."""


class DatabaseUnreachableError(StorageError):
    """No connection could be made, or it was lost before the commit was sent: nothing has changed."""


class LoginRefusedError(StorageError):
    """Wrong password, unknown user or database, or no permission to connect."""


class DatabaseBusyError(StorageError):
    """A lock, a statement or a free slot took longer than its deadline.

    Nothing has changed, trying later is safe.
    """


class DiskFullError(StorageError):
    """No space left for the database: nothing has changed."""


class DatabaseIoError(StorageError):
    """The operating system reported an I/O error, or the database file is damaged (threat I2).

    The connection has been dropped. A SQLite writer flushes everything afresh before it accepts the next
    transaction.
    """


class ReadOnlyDatabaseError(StorageError):
    """The database refuses writes: a PostgreSQL standby, or a file or disk that is read-only."""


class CommitOutcomeUnknownError(StorageError):
    """The connection failed while the commit was on its way: it may have happened or not (threat I3).

    Retry only what is harmless twice, such as an insert-or-ignore with an id made by us; otherwise read
    first.
    """


class SchemaTooNewError(StorageError):
    """A newer version of mezite has migrated this database; this one must not write to it."""


class MigrationError(StorageError):
    """A schema migration failed; it was rolled back whole."""


class DatabaseClosedError(StorageError):
    """read() or write() after aclose()."""


class ConstraintError(StorageError):
    """A row breaks a rule of the schema, such as a reference to a user that does not exist."""


class AlreadyExistsError(StorageError):
    """A row with this key exists. `what` is the kind ("user"), `key` its name."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__(f"{what} {key!r} already exists")
        self.what = what
        self.key = key


class NameTakenError(AlreadyExistsError):
    """The node name belongs to the agent `owner` (threat B1)."""

    def __init__(self, node_name: str, owner: str) -> None:
        super().__init__("node", node_name)
        self.owner = owner


class NotFoundError(StorageError):
    """The row to change does not exist. `what` is the kind, `key` its name."""

    def __init__(self, what: str, key: str) -> None:
        super().__init__(f"{what} {key!r} does not exist")
        self.what = what
        self.key = key


class StaleStateError(StorageError):
    """A row is not in the state that a change of it begins from; nothing was changed."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} has been changed by another hub meanwhile; nothing was changed here")
