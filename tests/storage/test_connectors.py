# SPDX-License-Identifier: Apache-2.0
import attrs

from mezite.storage import connectors
from mezite.storage.connectors import ConnectorRow

NOW = 1_790_000_000_000
ROW = ConnectorRow(
    name="keycloak", kind="oidc", document="{}", secret="plain:x", created_at=NOW, updated_at=NOW
)


async def test_a_connector_is_made_and_replaced(db):
    assert await db.write(connectors.put, connector=ROW) == (ROW, True)
    changed = attrs.evolve(ROW, document='{"a":1}', created_at=NOW + 5, updated_at=NOW + 5)
    row, created = await db.write(connectors.put, connector=changed)
    assert not created
    assert row == attrs.evolve(changed, created_at=NOW)
    assert await db.read(connectors.get, name="keycloak") == row
    assert await db.read(connectors.get, name="Keycloak") is None
    assert "plain:x" not in repr(row)


async def test_two_versions_never_have_the_same_time(db):
    await db.write(connectors.put, connector=ROW)
    row, _ = await db.write(connectors.put, connector=attrs.evolve(ROW, secret="plain:y"))
    assert row.updated_at == NOW + 1


async def test_lists_counts_and_deleting(db):
    for name in ("b", "a"):
        await db.write(connectors.put, connector=attrs.evolve(ROW, name=name))
    assert [row.name for row in await db.read(connectors.list_all)] == ["a", "b"]
    assert await db.read(connectors.count) == 2
    assert await db.write(connectors.delete, name="a")
    assert not await db.write(connectors.delete, name="a")
