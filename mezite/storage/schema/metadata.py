# SPDX-License-Identifier: Apache-2.0
"""What all tables have in common."""

from __future__ import annotations

from sqlalchemy import MetaData

__all__ = ["HASH_LENGTH", "metadata"]

HASH_LENGTH = "length(token_hash) = 64"
"""CHECK of a table of secrets: a raw token does not fit."""

# Constraints carry names so that later migrations can drop them on SQLite too, where only batch mode can.
metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)
