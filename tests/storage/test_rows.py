# SPDX-License-Identifier: Apache-2.0
import pytest
from sqlalchemy import select

from mezite.storage import users
from mezite.storage.errors import StorageError
from mezite.storage.rows import all_rows, first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import users as table
from mezite.storage.users import UserRow

VALUES = {"name": "alice", "roles": ("r",), "traits": {}, "created_at": 1, "updated_at": 2}


async def test_a_taken_key_leaves_the_transaction_usable(db):
    def insert_twice(conn):
        first = insert_if_absent(conn, table, VALUES)
        second = insert_if_absent(conn, table, VALUES | {"created_at": 9})
        return first.created_at, second, users.count(conn)

    assert await db.write(insert_twice) == (1, None, 1)


async def test_rows_become_attrs_objects(db):
    def insert_and_select(conn):
        insert_if_absent(conn, table, VALUES)
        found = select(table).where(table.c.name == "alice")
        missing = select(table).where(table.c.name == "bob")
        return (
            first_row(UserRow, conn.execute(found)),
            all_rows(UserRow, conn.execute(found)),
            first_row(UserRow, conn.execute(missing)),
            all_rows(UserRow, conn.execute(missing)),
        )

    one, many, none, empty = await db.write(insert_and_select)
    assert one == many[0]
    assert isinstance(one, UserRow)
    assert (none, empty) == (None, [])


async def test_a_value_of_another_shape_is_refused_before_it_is_sent(db):
    with pytest.raises(StorageError, match="expected a list of strings"):
        await db.write(insert_if_absent, table, VALUES | {"roles": "admin"})


def test_token_hashes():
    assert require_token_hash("0a" * 32) == "0a" * 32
    for wrong in ("", "0A" * 32, "0a" * 31, "0a" * 33, "g" * 64):
        with pytest.raises(ValueError, match="64 lower-case hex"):
            require_token_hash(wrong)
