# SPDX-License-Identifier: Apache-2.0
"""What is over goes, what may still be asked for stays (threat D15)."""

import logging

import pytest
import trio
import trio.testing
from sqlalchemy import func, select, update

from mezite.services.housekeeping import EVERY_SECONDS, KEPT_MS, Housekeeping
from mezite.storage import live_connections, web_sessions
from mezite.storage.schema import access_requests, invites
from mezite.storage.schema import live_connections as places
from mezite.storage.schema import web_sessions as sessions
from tests.services.requests.test_access_requests import office  # noqa: F401 - a fixture
from tests.services.test_audit_log import break_database
from tests.services.world import HOUR


def count(conn):
    return {
        table.name: conn.execute(select(func.count()).select_from(table)).scalar_one()
        for table in (sessions, invites, access_requests, places)
    }


@pytest.fixture
def keeping(world):
    return Housekeeping(database=world.database, sources=world.sources)


async def test_what_is_over_goes(world, office, keeping):  # noqa: F811
    await world.accounts.create("invited", roles=(), traits={}, by="root")
    dropped, pending = await office.ask(), await office.ask()
    await office.withdraw("alice", dropped)
    await world.database.write(
        live_connections.take, connection_id="c-1", user_name="alice", hub_id="gone", limit=9
    )
    before = await world.database.read(count)
    assert await keeping.sweep() == 0
    assert await world.database.read(count) == before
    world.clock.now += 12 * HOUR + 1
    assert await keeping.sweep() == before["web_sessions"] > 0
    world.clock.now += KEPT_MS + 24 * HOUR
    late = await world.token("root")
    await world.requests.expire_due()
    await world.database.write(lambda conn: conn.execute(update(places).values(lease_until=1)))
    # The invite that nobody has used, the request that was dropped, the place of a hub that is no more.
    assert await keeping.sweep() == 3
    left = await world.database.read(count)
    assert left == {"web_sessions": 1, "invites": 0, "access_requests": 1, "live_connections": 0}
    assert (await world.authenticator.by_session(late)).name == "root"
    assert (await world.requests.get(office.people["alice"], pending.row.request_id)).state.value == "expired"


class Noticing(logging.Handler):
    """Sets an event when something is logged."""

    def __init__(self):
        super().__init__()
        self.noticed = trio.Event()

    def emit(self, record):
        self.noticed.set()


@pytest.fixture
def noticing():
    logger, handler = logging.getLogger("mezite.housekeeping"), Noticing()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


async def test_it_goes_on_when_the_database_does_not(world, keeping, mock_clock, caplog, noticing):
    await world.user()
    world.clock.now += 12 * HOUR + 1
    await break_database(world, "ALTER TABLE invites RENAME TO hidden")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keeping.run)
        await noticing.noticed.wait()
        await break_database(world, "ALTER TABLE hidden RENAME TO invites")
        noticing.noticed = trio.Event()
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(EVERY_SECONDS)
        await noticing.noticed.wait()
        nursery.cancel_scope.cancel()
    assert "cannot delete what is over" in caplog.text
    assert await world.database.read(web_sessions.list_live, now=0) == []
