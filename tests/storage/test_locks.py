# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.rbac.locks import LockTarget
from mezite.storage import access_changes, locks
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.locks import LockEffect, LockRow

NOW = 1_790_000_000_000


def row(lock_id="l-1", **changes):
    fields = {"target": LockTarget.USER, "name": "alice", "message": "lost", "created_by": "root"}
    return LockRow(id=lock_id, created_at=NOW, **(fields | changes))


async def test_made_listed_lifted(db):
    assert await db.write(locks.insert, row=row()) == row()
    with pytest.raises(AlreadyExistsError):
        await db.write(locks.insert, row=row())
    assert await db.read(locks.get, lock_id="l-1") == row()
    assert await db.read(locks.list_in_force, now=NOW) == [row()]
    assert await db.write(locks.delete, lock_id="l-1")
    assert not await db.write(locks.delete, lock_id="l-1")
    assert await db.read(locks.get, lock_id="l-1") is None


async def test_in_force_until_its_time_is_over(db):
    await db.write(locks.insert, row=row("l-2", expires_at=NOW + 1000))
    await db.write(locks.insert, row=row("l-1", expires_at=None))
    assert [one.id for one in await db.read(locks.list_in_force, now=NOW + 999)] == ["l-1", "l-2"]
    assert [one.id for one in await db.read(locks.list_in_force, now=NOW + 1000)] == ["l-1"]
    assert await db.read(locks.count_in_force, now=NOW + 999) == 2
    assert await db.read(locks.count_in_force, now=NOW + 1000) == 1


async def test_what_is_long_over_is_deleted(db):
    for lock_id, expires_at in (("l-1", None), ("l-2", NOW + 1000), ("l-3", NOW + 1001)):
        await db.write(locks.insert, row=row(lock_id, expires_at=expires_at))
    await db.write(locks.add_effect, lock_id="l-2", hub_id="hub-1", effect=LockEffect(sessions=1))
    assert await db.write(locks.delete_stale, before=NOW + 1001) == 1
    assert await db.read(locks.get, lock_id="l-2") is None
    assert await db.read(locks.effects) == {}
    assert [one.id for one in await db.read(locks.list_in_force, now=NOW)] == ["l-1", "l-3"]


async def test_what_it_has_cut_on_all_hubs(db):
    await db.write(locks.insert, row=row())
    assert await db.read(locks.effects) == {}
    for hub_id, effect in (
        ("hub-1", LockEffect(sessions=40, connections=2, slowest_ms=380)),
        ("hub-2", LockEffect(sessions=1, connections=1, slowest_ms=900)),
        ("hub-1", LockEffect(sessions=1, connections=0, slowest_ms=5)),
    ):
        assert await db.write(locks.add_effect, lock_id="l-1", hub_id=hub_id, effect=effect)
    assert await db.read(locks.effects) == {"l-1": LockEffect(sessions=42, connections=3, slowest_ms=900)}
    await db.write(locks.insert, row=row("l-2"))
    assert await db.write(locks.add_effect, lock_id="l-2", hub_id="hub-3", effect=LockEffect())
    assert await db.read(locks.answered, lock_id="l-1") == {"hub-1", "hub-2"}
    assert await db.read(locks.answered, lock_id="l-2") == {"hub-3"}
    assert await db.write(locks.delete, lock_id="l-2")
    await db.write(locks.delete, lock_id="l-1")
    assert await db.read(locks.effects) == {}
    assert not await db.write(locks.add_effect, lock_id="l-1", hub_id="hub-1", effect=LockEffect())


async def test_every_lock_counts_as_a_change(db):
    before = await db.read(access_changes.counts)
    await db.write(locks.insert, row=row())
    await db.write(locks.delete, lock_id="l-1")
    await db.write(locks.delete, lock_id="l-1")
    after = await db.read(access_changes.counts)
    assert after[AccessChange.RIGHTS] == before[AccessChange.RIGHTS] + 2
    assert after[AccessChange.SESSIONS] == before[AccessChange.SESSIONS]
