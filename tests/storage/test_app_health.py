# SPDX-License-Identifier: Apache-2.0
import attrs

from mezite.core.apps.app import App
from mezite.storage import app_health, apps
from mezite.storage.app_health import AppHealthRow

NOW = 1_790_000_000_000
GOOD = AppHealthRow(app="wiki", agent="node-1", checked="k", state="healthy", since=NOW, reason="")
BAD = attrs.evolve(GOOD, state="unhealthy", since=NOW + 5, reason="HTTP 503")


async def record(db, row):
    return await db.write(app_health.record, row=row)


async def known(db, *names):
    rows = await db.read(app_health.of_apps, names=names or ("wiki",))
    return sorted(rows, key=lambda row: row.agent)


async def test_a_state_keeps_its_beginning(db):
    assert await record(db, GOOD) is None
    assert await record(db, attrs.evolve(GOOD, since=NOW + 3)) == GOOD
    assert await known(db) == [GOOD]
    assert await record(db, BAD) == GOOD
    refused = attrs.evolve(BAD, since=NOW + 9, reason="connection refused")
    assert await record(db, refused) == BAD
    assert await known(db) == [attrs.evolve(refused, since=NOW + 5)]
    other = attrs.evolve(refused, checked="another path", since=NOW + 20)
    await record(db, other)
    assert await known(db) == [other]


async def test_each_agent_of_each_application(db):
    second, third = attrs.evolve(GOOD, agent="node-2"), attrs.evolve(GOOD, app="redis")
    for row in (GOOD, second, third):
        await record(db, row)
    assert await known(db) == [GOOD, second]
    assert len(await known(db, "wiki", "redis", "none")) == 3
    assert await db.read(app_health.of_apps, names=()) == []
    await db.write(app_health.forget, app="wiki", kept_agents=("node-2",))
    assert await known(db, "wiki", "redis") == [third, second]


async def test_it_goes_with_its_application(db):
    app = App(name="wiki", uri="tcp://wiki:1", protocol="tcp", agent_hostnames=("node-1", "node-2"))
    await db.write(apps.insert, app=app, revision="r1", now=NOW)
    second = attrs.evolve(GOOD, agent="node-2")
    for row in (GOOD, second):
        await record(db, row)
    unbound = attrs.evolve(app, agent_hostnames=("node-2",))
    await db.write(apps.replace, app=unbound, revision="r2", now=NOW)
    assert await known(db) == [second]
    await db.write(apps.delete, name="wiki")
    assert await known(db) == []
