# SPDX-License-Identifier: Apache-2.0
from mezite.storage import roles
from mezite.storage.roles import RoleRow

NOW = 1_790_000_000_000


async def test_a_role_is_made_and_replaced(db):
    row, created = await db.write(roles.put, name="dev", document="{}", now=NOW)
    assert created
    assert row == RoleRow(name="dev", document="{}", created_at=NOW, updated_at=NOW)
    row, created = await db.write(roles.put, name="dev", document='{"a":1}', now=NOW + 5)
    assert not created
    assert row == RoleRow(name="dev", document='{"a":1}', created_at=NOW, updated_at=NOW + 5)
    assert await db.read(roles.get, name="dev") == row
    assert await db.read(roles.get, name="Dev") is None


async def test_lists_and_selections(db):
    for name in ("c", "a", "b"):
        await db.write(roles.put, name=name, document="{}", now=NOW)
    first = await db.read(roles.list_all, limit=2)
    rest = await db.read(roles.list_all, after=first[-1].name)
    assert [row.name for row in first + rest] == ["a", "b", "c"]
    assert [row.name for row in await db.read(roles.get_many, names=["c", "x", "a"])] == ["a", "c"]
    assert await db.read(roles.get_many, names=[]) == []


async def test_deleting(db):
    await db.write(roles.put, name="dev", document="{}", now=NOW)
    assert await db.write(roles.delete, name="dev")
    assert not await db.write(roles.delete, name="dev")
