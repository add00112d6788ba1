# SPDX-License-Identifier: Apache-2.0
"""Applications in memory: a change on another hub counts within two seconds, and names are never mixed up (D22)."""

import attrs
import pytest
import trio

from mezite.core.apps.app import App
from mezite.services.app_memory import FRESH_SECONDS, KEPT_SECONDS, AppMemory
from mezite.storage import access_changes, apps
from mezite.storage.access_changes import AccessChange
from mezite.storage.database import Database
from mezite.storage.errors import DatabaseClosedError
from tests.services.world import START

GRAFANA = App(name="grafana", uri="http://g", public_addr="grafana.apps.example.com")
WIKI = App(name="wiki", uri="http://w", public_addr="wiki.apps.example.com")
REDIS = App(name="redis", uri="tcp://redis:6379", protocol="tcp")


async def insert(database, *given):
    for app in given:
        await database.write(apps.insert, app=app, revision=f"r-{app.name}", now=START)


def names(known):
    return sorted(known.by_name), sorted(known.by_host)


async def test_it_is_read_once_and_then_compared(database_path, mock_clock):
    async with (
        await Database.open(database_path, migrate=False) as here,
        await Database.open(database_path, migrate=False) as elsewhere,
    ):
        memory = AppMemory(here)
        assert names(await memory.read()) == ([], [])
        await insert(elsewhere, GRAFANA, REDIS)
        assert names(await memory.read()) == ([], [])
        mock_clock.jump(FRESH_SECONDS)
        known = await memory.read()
        assert names(known) == (["grafana", "redis"], ["grafana.apps.example.com"])
        assert await memory.refresh() is known


async def test_only_what_has_changed_is_read_again(world):
    memory = AppMemory(world.database)
    await insert(world.database, GRAFANA, WIKI)
    before = await memory.read()
    moved = attrs.evolve(WIKI, public_addr="docs.apps.example.com")
    await world.database.write(apps.replace, app=moved, revision="r2", now=START)
    await world.database.write(apps.delete, name="grafana")
    await insert(world.database, attrs.evolve(GRAFANA, name="other"))
    after = await memory.refresh()
    assert names(after) == (["other", "wiki"], ["docs.apps.example.com", "grafana.apps.example.com"])
    assert after.by_host["grafana.apps.example.com"].app.name == "other"
    assert names(before) == (["grafana", "wiki"], ["grafana.apps.example.com", "wiki.apps.example.com"])
    await insert(world.database, REDIS)
    assert (await memory.refresh()).by_name["wiki"] is after.by_name["wiki"]


async def test_who_follows_changes_keeps_it_fresh(world, mock_clock):
    memory = AppMemory(world.database)
    version = (await memory.read()).version
    await insert(world.database, GRAFANA)
    for _ in range(5):
        mock_clock.jump(FRESH_SECONDS - 0.5)
        await memory.follow(version)
    assert names(await memory.read()) == ([], [])
    counts = await world.database.read(access_changes.counts)
    await memory.follow(counts[AccessChange.APPS])
    assert names(await memory.read())[0] == ["grafana"]


async def test_while_the_database_is_away(database_path, mock_clock):
    """As long as locks are believed, and not a moment longer."""
    async with await Database.open(database_path, migrate=False) as database:
        memory = AppMemory(database)
        await insert(database, GRAFANA)
        known = await memory.read()
    mock_clock.jump(KEPT_SECONDS - 0.5)
    assert await memory.read() is known
    with pytest.raises(DatabaseClosedError):
        await memory.refresh()
    with pytest.raises(DatabaseClosedError):
        await memory.follow(known.version + 1)
    mock_clock.jump(1)
    with pytest.raises(DatabaseClosedError):
        await memory.read()


async def test_many_who_ask_at_once_read_once(world):
    memory = AppMemory(world.database)
    await insert(world.database, GRAFANA)
    answers = []

    async def ask():
        answers.append(await memory.read())

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert len({id(answer) for answer in answers}) == 1


async def test_what_a_newer_version_has_stored_is_left_out(world, caplog):
    await insert(world.database, GRAFANA, WIKI)

    def from_the_future(conn):
        conn.exec_driver_sql("""UPDATE apps SET options = '{"only_on_mondays":true}' WHERE name = 'wiki'""")

    await world.database.write(from_the_future)
    assert names(await AppMemory(world.database).read())[0] == ["grafana"]
    assert "cannot read an application" in caplog.text
