# SPDX-License-Identifier: Apache-2.0
import contextlib
import threading
import traceback

import pytest
import trio
import trio.testing
from sqlalchemy import text

from mezite.storage import agents, users
from mezite.storage.agents import NewAgent
from mezite.storage.database import SLOT_WAIT_SECONDS, UNDONE_ATTEMPTS, Database
from mezite.storage.errors import (
    CommitOutcomeUnknownError,
    ConstraintError,
    DatabaseBusyError,
    DatabaseClosedError,
    DatabaseUnreachableError,
    ReadOnlyDatabaseError,
    StorageError,
)
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000


class Gate:
    """Holds transactions in their threads until it is opened."""

    def __init__(self):
        self.open = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, _conn, result=None):
        self.entered.release()
        assert self.open.wait(20)
        return result

    async def wait_entered(self, count):
        for _ in range(count):
            await trio.to_thread.run_sync(self.entered.acquire)


@contextlib.asynccontextmanager
async def held(call, gate, count):
    """`count` transactions wait inside `gate`."""
    async with trio.open_nursery() as nursery:
        try:
            for _ in range(count):
                nursery.start_soon(call, gate)
            await gate.wait_entered(count)
            yield nursery
        finally:
            gate.open.set()


def insert(name):
    def function(conn):
        return users.insert(conn, user=NewUser(name=name), now=NOW)

    return function


async def test_arguments_and_results_pass_through(db):
    def function(conn, *args, **kwargs):
        return conn.execute(text("SELECT 7")).scalar(), args, kwargs

    assert await db.read(function, 1, two=2) == (7, (1,), {"two": 2})
    assert await db.write(function) == (7, (), {})


async def test_what_a_function_raises_comes_out_and_undoes_its_changes(db):
    def insert_and_fail(conn):
        insert("alice")(conn)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await db.write(insert_and_fail)
    assert await db.read(users.count) == 0


async def test_a_read_cannot_write(db):
    with pytest.raises(ReadOnlyDatabaseError):
        await db.read(insert("alice"))
    await db.write(insert("alice"))
    assert await db.read(users.count) == 1


async def test_a_read_sees_one_snapshot(db):
    gate = Gate()

    def count_twice(conn):
        before = users.count(conn)
        gate(conn)
        return before, users.count(conn)

    counts = []

    async def read():
        counts.append(await db.read(count_twice))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await gate.wait_entered(1)
        await db.write(insert("alice"))
        gate.open.set()
    assert counts == [(0, 0)]


async def test_a_write_is_seen_by_the_next_read(db):
    for number in range(20):
        await db.write(insert(f"user-{number}"))
        assert await db.read(users.count) == number + 1


async def test_writers_hammer_one_row_and_lose_nothing_p24(db):
    await db.write(agents.register, agent=NewAgent(agent_id="a", node_name="n"), now=NOW)

    async def hammer():
        for _ in range(10):
            await db.write(agents.next_epoch, agent_id="a", hub_id="h", now=NOW)
            await db.read(agents.get, agent_id="a")

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(hammer)
    assert (await db.read(agents.get, agent_id="a")).tunnel_epoch == 120


async def test_a_cancelled_wait_for_a_slot_leaves_nothing_p8(sqlite_db):
    gate = Gate()
    async with held(sqlite_db.write, gate, 1):
        with trio.move_on_after(0) as scope:
            await sqlite_db.write(insert("alice"))
        assert scope.cancelled_caught
    assert await sqlite_db.read(users.count) == 0
    statistics = sqlite_db.statistics()
    assert (statistics.writes_running, statistics.writes_waiting) == (0, 0)


async def test_a_transaction_that_has_begun_is_finished_p8(db):
    gate = Gate()
    returned = []

    def insert_slowly(conn):
        row = insert("alice")(conn)
        gate(conn)
        return row.name

    async def cancelled_writer(scope):
        with scope:
            returned.append(await db.write(insert_slowly))
            await trio.lowlevel.checkpoint()
            raise AssertionError("the cancellation was lost")

    scope = trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(cancelled_writer, scope)
        await gate.wait_entered(1)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert returned == []
        gate.open.set()
    assert returned == ["alice"]
    assert scope.cancelled_caught
    assert await db.read(users.count) == 1


async def test_readers_and_writers_cannot_starve_each_other_p7(db):
    gate = Gate()
    async with held(db.read, gate, 4) as nursery:
        nursery.start_soon(db.read, gate)
        await trio.testing.wait_all_tasks_blocked()
        statistics = db.statistics()
        assert (statistics.reads_running, statistics.reads_waiting) == (4, 1)
        await db.write(insert("alice"))
    gate = Gate()
    writers = 1 if db.dialect == "sqlite" else 4
    async with held(db.write, gate, writers):
        assert db.statistics().writes_running == writers
        assert await db.read(users.count) == 1


async def test_the_default_thread_pool_is_not_used_p7(db):
    """With every token of Trio's own limiter taken, the database answers."""
    limiter = trio.to_thread.current_default_thread_limiter()
    gate = Gate()
    async with trio.open_nursery() as nursery:
        for _ in range(int(limiter.total_tokens)):
            nursery.start_soon(trio.to_thread.run_sync, gate, None)
        await trio.testing.wait_all_tasks_blocked()
        assert limiter.available_tokens == 0
        await db.write(insert("alice"))
        assert await db.read(users.count) == 1
        gate.open.set()


async def test_a_full_database_does_not_take_the_default_thread_pool_p7(db):
    gate = Gate()
    async with held(db.read, gate, 4) as nursery:
        nursery.start_soon(db.read, gate)
        assert await trio.to_thread.run_sync(lambda: "free") == "free"


async def test_waiting_for_a_slot_has_a_deadline(sqlite_path, autojump_clock):
    gate = Gate()
    async with await Database.open(sqlite_path) as db, held(db.write, gate, 1):
        start = trio.current_time()
        with pytest.raises(DatabaseBusyError, match="no free database connection within 30 s"):
            await db.write(insert("alice"))
        assert trio.current_time() - start == pytest.approx(SLOT_WAIT_SECONDS)


async def test_close_waits_for_what_runs_and_refuses_what_comes(db):
    gate = Gate()
    finished = []

    async def close():
        await db.aclose()
        finished.append("closed")

    async def write():
        await db.write(gate)
        finished.append("written")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await gate.wait_entered(1)
        nursery.start_soon(close)
        await trio.testing.wait_all_tasks_blocked()
        for call in (db.read, db.write):
            with pytest.raises(DatabaseClosedError):
                await call(users.count)
        assert finished == []
        gate.open.set()
    assert finished == ["written", "closed"]
    await db.aclose()


async def test_a_cancelled_close_closes(sqlite_path):
    db = await Database.open(sqlite_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await db.aclose()
    assert scope.cancelled_caught
    assert not sqlite_path.with_name(sqlite_path.name + "-wal").exists()


async def test_check_is_a_sign_of_life(db):
    await db.check()
    assert db.statistics().failure is None


SECRET = "canary-in-a-row"


async def test_refused_rows_do_not_appear_in_errors_h6(db):
    """PostgreSQL puts the row into its detail, SQLAlchemy the parameters, Python the chain of exceptions."""

    def insert_raw_token(conn):
        columns = "token_hash, user_name, created_at, expires_at"
        statement = text(f"INSERT INTO invites ({columns}) VALUES (:hash, 'u', 1, 2)")
        conn.execute(statement, {"hash": SECRET})

    with pytest.raises(ConstraintError) as caught:
        await db.write(insert_raw_token)
    error = caught.value
    assert "token_hash" in str(error)
    assert SECRET not in "".join(traceback.format_exception(error))
    assert (error.__cause__, error.__context__) == (None, None)


async def test_a_mistake_in_sql_is_reported_without_parameters_h6(db):
    def mistaken(conn):
        conn.execute(text("SELECT a FROM nowhere WHERE x = :x"), {"x": SECRET})

    with pytest.raises(StorageError, match="nowhere") as caught:
        await db.read(mistaken)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


async def test_transactions_in_each_others_way_are_repeated(postgres_db):
    """Two that lock two rows in opposite order: PostgreSQL undoes one, which is run again."""
    for name in ("a", "b"):
        await postgres_db.write(agents.register, agent=NewAgent(agent_id=name, node_name=name), now=NOW)
    both = threading.Barrier(2)
    runs = []

    def lock_two(conn, first, second):
        runs.append(first)
        conn.execute(text("SET LOCAL deadlock_timeout = '10ms'"))
        agents.next_epoch(conn, agent_id=first, hub_id="h", now=NOW)
        if len(runs) <= 2:
            both.wait(10)
        agents.next_epoch(conn, agent_id=second, hub_id="h", now=NOW)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(postgres_db.write, lock_two, "a", "b")
        nursery.start_soon(postgres_db.write, lock_two, "b", "a")
    assert len(runs) == 3
    assert [row.tunnel_epoch for row in await postgres_db.read(agents.list_all)] == [2, 2]


async def test_repeating_ends(postgres_url, autojump_clock):
    runs = []

    def undone(conn):
        runs.append(1)
        conn.execute(text("DO $$ BEGIN RAISE EXCEPTION 'in the way' USING ERRCODE = '40001'; END $$"))

    async with await Database.open(postgres_url) as db:
        with pytest.raises(DatabaseBusyError, match="in the way; try again"):
            await db.write(undone)
    assert len(runs) == UNDONE_ATTEMPTS


async def test_connections_that_died_while_idle_are_replaced(postgres_db, postgres, migrated_postgres):
    """As after a restart of the server."""
    for call in (postgres_db.read, postgres_db.write):
        await postgres_db.write(users.count)
        postgres.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{migrated_postgres}'"
        )
        assert await call(users.count) == 0


HANG_UP = text("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_connection_lost_before_the_commit_is_tried_once_more(postgres_db):
    runs = []

    def lose_the_first(conn):
        runs.append(1)
        users.insert(conn, user=NewUser(name="alice"), now=NOW)
        if len(runs) == 1:
            conn.execute(HANG_UP)

    await postgres_db.write(lose_the_first)
    assert len(runs) == 2
    assert await postgres_db.read(users.count) == 1


async def test_a_connection_that_is_lost_again_is_an_error(postgres_db):
    runs = []

    def lose_each(conn):
        runs.append(1)
        conn.execute(HANG_UP)

    with pytest.raises(DatabaseUnreachableError, match="connection was lost"):
        await postgres_db.write(lose_each)
    assert len(runs) == 2
    assert isinstance(postgres_db.statistics().failure, DatabaseUnreachableError)
    await postgres_db.write(users.count)
    assert postgres_db.statistics().failure is None


HANG_UP_AT_COMMIT = """
CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER hang_up AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION hang_up();
"""


async def test_a_connection_lost_during_the_commit_is_not_repeated_i3(empty_postgres_url):
    runs = []

    def insert_alice(conn):
        runs.append(1)
        insert("alice")(conn)

    async with await Database.open(empty_postgres_url) as db:
        await db.write(lambda conn: conn.exec_driver_sql(HANG_UP_AT_COMMIT) and None)
        with pytest.raises(CommitOutcomeUnknownError, match="may have happened or not"):
            await db.write(insert_alice)
        assert len(runs) == 1


async def test_a_function_runs_outside_the_event_loops_thread(db):
    main = threading.get_ident()
    assert await db.read(lambda _conn: threading.get_ident()) != main
