# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.core.apps.app import App, AppOptions, InvalidAppError
from mezite.storage import access_changes, apps
from mezite.storage.access_changes import AccessChange
from mezite.storage.errors import AlreadyExistsError

NOW = 1_790_000_000_000
GRAFANA = App(
    name="grafana",
    uri="https://10.0.3.12:3000",
    public_addr="grafana.apps.example.com",
    labels={"env": "prod"},
    agent_hostnames=("node-1", "node-2"),
    options=AppOptions(insecure_skip_verify=True, cors_origins=("https://wiki.apps.example.com",)),
)
REDIS = App(name="redis", uri="tcp://redis:6379", protocol="tcp", enabled=False)
QUEUE = App(name="queue", uri="tcp://queue:5672", protocol="tcp")


async def insert(db, *given, now=NOW):
    return [await db.write(apps.insert, app=app, revision=f"r-{app.name}", now=now) for app in given]


async def test_an_application_comes_back_as_it_was(db):
    rows = await insert(db, GRAFANA, REDIS, QUEUE)
    assert [row.app() for row in rows] == [GRAFANA, REDIS, QUEUE]
    assert await db.read(apps.get, name="grafana") == rows[0]
    assert await db.read(apps.get, name="Grafana") is None
    assert await db.read(apps.get_by_address, public_addr="grafana.apps.example.com") == rows[0]
    assert await db.read(apps.get_by_address, public_addr="") is None
    assert (rows[1].public_addr, rows[1].disabled_at) == (None, NOW)


async def test_names_and_addresses_are_taken_once(db):
    await insert(db, GRAFANA, QUEUE)
    for other in (QUEUE, attrs.evolve(GRAFANA, name="other")):
        with pytest.raises(AlreadyExistsError):
            await insert(db, other)
    await insert(db, attrs.evolve(GRAFANA, name="other", public_addr="other.apps.example.com"))
    taking = attrs.evolve(GRAFANA, name="other")
    with pytest.raises(AlreadyExistsError, match=r"grafana\.apps\.example\.com"):
        await db.write(apps.replace, app=taking, revision="r2", now=NOW)


async def test_replacing(db):
    await insert(db, GRAFANA, REDIS)
    changed = attrs.evolve(GRAFANA, uri="http://10.0.3.13", options=AppOptions(), enabled=False)
    row = await db.write(apps.replace, app=changed, revision="r2", now=NOW + 5)
    assert row.app() == changed
    assert (row.created_at, row.updated_at, row.disabled_at) == (NOW, NOW + 5, NOW + 5)
    again = await db.write(apps.replace, app=changed, revision="r3", now=NOW + 9)
    assert again.disabled_at == NOW + 5
    same_address = await db.write(apps.replace, app=GRAFANA, revision="r4", now=NOW + 9)
    assert same_address.disabled_at is None
    other_port = attrs.evolve(REDIS, uri="tcp://redis:6380")
    assert (await db.write(apps.replace, app=other_port, revision="r5", now=NOW)).app() == other_port
    assert await db.write(apps.replace, app=QUEUE, revision="r6", now=NOW) is None


async def test_revisions_and_many(db):
    await insert(db, GRAFANA, REDIS)
    assert await db.read(apps.revisions) == {"grafana": "r-grafana", "redis": "r-redis"}
    rows = await db.read(apps.get_many, names=["redis", "grafana", "none"])
    assert {row.name for row in rows} == {"redis", "grafana"}
    assert await db.read(apps.get_many, names=[]) == []
    assert await db.read(apps.count) == 2


async def test_every_change_counts(db):
    async def count():
        return (await db.read(access_changes.counts))[AccessChange.APPS]

    before = await count()
    await insert(db, GRAFANA)
    await db.write(apps.replace, app=GRAFANA, revision="r2", now=NOW)
    assert await db.write(apps.delete, name="grafana")
    assert await count() == before + 3
    assert not await db.write(apps.delete, name="grafana")


async def test_what_a_newer_version_has_stored_is_not_guessed(db):
    (row,) = await insert(db, GRAFANA)
    with pytest.raises(InvalidAppError, match="future"):
        attrs.evolve(row, options='{"future":1}').app()


async def test_two_that_take_one_address_at_once(db):
    """One gets it; the others are told that it is taken, whichever of the two ways they came (PostgreSQL)."""
    names = ("one", "two", "three")
    await insert(db, *(attrs.evolve(GRAFANA, name=name, public_addr=f"{name}.example.com") for name in names))
    for number in range(5):
        wanted = f"wanted-{number}.example.com"
        taken = []

        async def take(name, way, wanted=wanted, taken=taken):
            app = attrs.evolve(GRAFANA, name=name, public_addr=wanted)
            try:
                await db.write(way, app=app, revision=f"{wanted} {name}", now=NOW)
            except AlreadyExistsError:
                return
            taken.append(name)

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(take, name, apps.replace)
            nursery.start_soon(take, f"new-{number}", apps.insert)
        holder = await db.read(apps.get_by_address, public_addr=wanted)
        assert [holder.name] == taken
