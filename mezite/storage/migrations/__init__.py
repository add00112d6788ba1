# SPDX-License-Identifier: Apache-2.0
"""The schema's history: ordered steps, each applied once, all that are due in one transaction under a lock
(threat I5).

Steps are Alembic revisions in `versions/`, numbered 0001, 0002, ... While hubs are upgraded one by one, an
old hub runs on the new schema for a while, so a release only expands (new tables, new columns that are
nullable or have a default), and contracts (drops, renames, NOT NULL) what its *predecessor* no longer used. A
hub refuses to start on a schema newer than its own: it cannot know what that one means.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from mezite.storage.errors import MigrationError, SchemaTooNewError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from mezite.storage.backend import Backend

__all__ = ["REVISIONS", "current_revision", "upgrade"]

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
)
"""Every revision this version knows, oldest first (a test compares it with `versions/`)."""

# Alembic keeps the running migration in module globals.
_alembic_globals = threading.Lock()


def current_revision(conn: Connection) -> str | None:
    """The schema revision of the database; None when it has never been migrated."""
    if not inspect(conn).has_table("alembic_version"):
        return None
    revision = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if revision is None else str(revision)


def upgrade(backend: Backend) -> None:
    """Bring the database to the newest revision of this version; nothing to do is cheap (Alembic is not
    imported).

    Blocking, and waits up to 10 minutes for another hub that is migrating. Raises SchemaTooNewError,
    MigrationError (everything was rolled back), and what `Backend.explain` gives for a database that cannot
    be used.
    """
    driver_errors = (DBAPIError, backend.writer.dialect.loaded_dbapi.Error)
    step = "connecting"
    try:
        with backend.migration_transaction() as conn:
            step = "migrating"
            revision = current_revision(conn)
            if revision == REVISIONS[-1]:
                return
            if revision is not None and revision not in REVISIONS:
                raise SchemaTooNewError(
                    f"{backend.description}: its schema {revision} is newer than the newest one that this"
                    f" version knows ({REVISIONS[-1]}); upgrade mezite here, or restore an older backup"
                )
            _apply(conn)
    except driver_errors as error:
        failure = backend.explain(error).error
    else:
        return
    if step == "connecting":
        raise failure
    raise MigrationError(f"schema migration failed and was rolled back: {failure}")


def _apply(conn: Connection) -> None:
    from alembic import command  # noqa: PLC0415 - a tenth of a second that most starts do not need
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.attributes["connection"] = conn
    with _alembic_globals:
        command.upgrade(config, "head")
