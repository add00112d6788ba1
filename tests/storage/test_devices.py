# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import access_changes, devices, users
from mezite.storage.access_changes import AccessChange
from mezite.storage.devices import DeviceRow
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
LAPTOP = DeviceRow(
    device_id="device-1", user_name="alice", name="laptop", public_key="ssh-ed25519 AAAA", created_at=NOW
)


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    return db


async def test_enrolled_approved_used_and_removed(people):
    assert await people.write(devices.insert, device=LAPTOP) == LAPTOP
    approved = await people.write(devices.approve, device_id="device-1", by="root", now=NOW + 1)
    assert approved == attrs.evolve(LAPTOP, approved_at=NOW + 1, approved_by="root")
    assert await people.write(devices.approve, device_id="device-1", by="eve", now=NOW + 2) is None
    await people.write(devices.mark_used, device_id="device-1", now=NOW + 3)
    used = await people.read(devices.get, device_id="device-1")
    assert used == attrs.evolve(approved, last_used_at=NOW + 3)
    before = (await people.read(access_changes.counts))[AccessChange.RIGHTS]
    assert await people.write(devices.remove, device_id="device-1")
    assert not await people.write(devices.remove, device_id="device-1")
    assert (await people.read(access_changes.counts))[AccessChange.RIGHTS] == before + 1
    assert await people.read(devices.get, device_id="device-1") is None


async def test_one_key_is_one_device(people):
    await people.write(devices.insert, device=LAPTOP)
    with pytest.raises(AlreadyExistsError):
        await people.write(devices.insert, device=attrs.evolve(LAPTOP, device_id="device-2", user_name="bob"))
    with pytest.raises(ConstraintError):
        await people.write(
            devices.insert,
            device=attrs.evolve(LAPTOP, device_id="device-3", user_name="eve", public_key="x"),
        )


async def test_lists(people):
    for number, user in enumerate(("alice", "bob", "alice"), 1):
        changes = {"device_id": f"device-{number}", "user_name": user, "public_key": str(number)}
        await people.write(devices.insert, device=attrs.evolve(LAPTOP, created_at=NOW + number, **changes))

    async def ids(**wanted):
        return [row.device_id[-1] for row in await people.read(devices.list_all, **wanted)]

    assert await ids() == ["3", "2", "1"]
    assert await ids(user_name="alice") == ["3", "1"]
    assert await ids(limit=1) == ["3"]
    assert await people.read(devices.count, user_name="alice") == 2
    await people.write(users.delete, name="alice")
    assert await ids() == ["2"]


async def test_one_of_many_approves(people):
    await people.write(devices.insert, device=LAPTOP)
    results = []

    async def approve(number):
        results.append(
            await people.write(devices.approve, device_id="device-1", by=f"admin-{number}", now=NOW)
        )

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(approve, number)
    assert len([row for row in results if row is not None]) == 1
