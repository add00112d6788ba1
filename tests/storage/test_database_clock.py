# SPDX-License-Identifier: Apache-2.0
import time

from mezite.storage import database_clock


async def test_it_is_this_machines_clock_when_the_database_runs_here_b8(db):
    before = time.time()
    now = await db.read(database_clock.now)
    assert isinstance(now, int)
    # SQLite rounds to the millisecond.
    assert before * 1000 - 2 <= now <= time.time() * 1000 + 2


async def test_it_goes_on_within_a_transaction_b8(postgres_db):
    def twice(conn):
        first = database_clock.now(conn)
        conn.exec_driver_sql("SELECT pg_sleep(0.005)")
        return first, database_clock.now(conn)

    first, second = await postgres_db.read(twice)
    assert second >= first + 4
