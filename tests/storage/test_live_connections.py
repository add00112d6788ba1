# SPDX-License-Identifier: Apache-2.0
"""Places for connections of users who may have so many only (threats E10, E12)."""

import trio
from sqlalchemy import update

from mezite.storage import live_connections, users
from mezite.storage.schema import live_connections as table
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000


def take(db, number, *, limit=2, user_name="alice", hub_id="hub-1"):
    return db.write(
        live_connections.take, connection_id=f"c-{number}", user_name=user_name, hub_id=hub_id, limit=limit
    )


async def test_places_are_taken_and_given_back(db):
    assert [await take(db, number, hub_id=f"hub-{number}") for number in range(3)] == [True, True, False]
    assert await take(db, 9, user_name="bob")
    await db.write(live_connections.release, connection_id="c-0")
    assert [await take(db, number) for number in (3, 4)] == [True, False]


async def test_at_once_no_more_get_one_than_there_are_e10(db):
    await db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    taken = []

    async def ask(number):
        taken.append(await take(db, number, limit=5))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, number)
    assert sum(taken) == 5


async def test_a_hub_that_died_holds_on_for_a_while_only(db):
    for number in range(2):
        assert await take(db, number, hub_id="hub-1" if number else "hub-2")
    assert not await take(db, 3)

    def let_all_run_out(conn):
        conn.execute(update(table).values(lease_until=1))

    await db.write(let_all_run_out)
    await db.write(live_connections.extend, hub_id="hub-2")
    assert [await take(db, number) for number in (4, 5)] == [True, False]
    await db.write(live_connections.release_hub, hub_id="hub-2")
    assert await take(db, 6)
