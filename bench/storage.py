# SPDX-License-Identifier: Apache-2.0
"""Commits per second, one row at a time and grouped, on SQLite and PostgreSQL, both synchronising to disk.

    python bench/storage.py [--seconds 3] [--dir DIR]

Prints one line for each case, each with its ratio to one row and one task on the same database. The directory
must be on a real disk: on tmpfs an fsync costs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import tempfile
from pathlib import Path

import trio

from mezite.storage import audit_events, users
from mezite.storage.audit_events import AuditEventRow
from mezite.storage.database import Database
from mezite.storage.users import NewUser
from mezite.testing.postgres import run_postgres


def event(seq: int) -> AuditEventRow:
    return AuditEventRow(
        id=f"event-{seq:010}",
        hub_id="hub-1",
        seq=seq,
        event_type="session.start",
        timestamp=seq,
        json='{"padding":"' + "x" * 400 + '"}',
        prev_hash="0" * 64,
        hash="1" * 64,
        user_name="alice",
        resource_type="node",
        resource_name="web-1",
    )


async def rate(seconds: float, tasks: int, rows: int, work) -> float:
    """Rows per second of `tasks` tasks that call `work()` over and over; one call is `rows` rows."""
    done = 0

    async def repeat() -> None:
        nonlocal done
        while True:
            await work()
            done += rows

    started = trio.current_time()
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for _ in range(tasks):
                nursery.start_soon(repeat)
    return done / (trio.current_time() - started)


async def measure(url: str, seconds: float) -> None:
    numbers = itertools.count(1)
    async with await Database.open(url) as db:

        async def append(group: int) -> None:
            await db.write(audit_events.append_many, rows=[event(next(numbers)) for _ in range(group)])

        async def read() -> None:
            await db.read(users.get, name="alice")

        await db.write(users.insert, user=NewUser(name="alice"), now=1)
        single = None
        print(db.description.split()[0])
        for group, tasks in ((1, 1), (1, 16), (10, 1), (100, 1), (500, 1)):
            found = await rate(seconds, tasks, group, functools.partial(append, group))
            single = single or found
            case = f"  commit {group:4} rows, {tasks:2} tasks"
            print(f"{case}: {found:9.0f} rows/s {found / group:8.0f} commits/s  x{found / single:.1f}")
        for tasks in (1, 16):
            print(f"  read one row, {tasks:2} tasks: {await rate(seconds, tasks, 1, read):9.0f} reads/s")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="for each case")
    parser.add_argument("--dir", type=Path, help="where the SQLite file goes")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.dir))
        trio.run(measure, f"{directory}/bench.db", arguments.seconds)
        cluster = stack.enter_context(run_postgres(fsync=True))
        trio.run(measure, cluster.create_database("bench"), arguments.seconds)


if __name__ == "__main__":
    main()
