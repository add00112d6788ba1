# SPDX-License-Identifier: Apache-2.0
"""Small writes of many tasks in few transactions.

A commit waits for the disk, so a fleet that comes back at once and writes a row for each agent waits for as many
syncs, one after the other; agents give up meanwhile, come again, and the queue never gets shorter (threat B6). Here
whoever comes while a transaction runs travels in the next one, together with all others that wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Concatenate, Generic, ParamSpec, TypeVar

import attrs
import trio
from sqlalchemy import Connection

from mezite.storage.database import Database
from mezite.storage.errors import StorageError

__all__ = ["SharedWrites"]

MOST = 64
"""Writes in one transaction: the gain of the sixty-fifth is 2 % of a sync, and all of them fail together."""

P = ParamSpec("P")
T = TypeVar("T")


@attrs.define(eq=False)
class _Write(Generic[T]):
    call: Callable[[Connection], T]
    result: T | None = None
    error: Exception | None = None
    done: bool = False


class SharedWrites:
    """The writes of one purpose on `database`; no order is promised among tasks."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[_Write[object]] = deque()
        self._turn = trio.Lock()

    async def write(
        self, fn: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `Database.write`. A StorageError that `fn` itself raises undoes only what `fn` did.

        Any failure of the transaction is everybody's who took part. `fn` may run more than once. Cancelling takes
        the write back unless it is being done already.
        """
        mine: _Write[T] = _Write(partial(_call, fn, args, kwargs))
        self._waiting.append(mine)  # type: ignore[arg-type]
        try:
            async with self._turn:
                if not mine.done:
                    await self._write_together()
        except trio.Cancelled:
            if mine in self._waiting:
                self._waiting.remove(mine)  # type: ignore[arg-type]
            raise
        if mine.error is not None:
            raise mine.error
        return mine.result  # type: ignore[return-value]

    async def _write_together(self) -> None:
        """One transaction with the writes that have waited longest."""
        batch = [self._waiting.popleft() for _ in range(min(MOST, len(self._waiting)))]
        try:
            outcomes = await self._database.write(_run_all, [write.call for write in batch])
        except trio.Cancelled:
            # Nothing was written: whoever is next takes them along.
            self._waiting.extendleft(reversed(batch))
            raise
        except Exception as error:  # noqa: BLE001 - kept, and raised by each
            for write in batch:
                write.error, write.done = error, True
        else:
            for write, (result, failure) in zip(batch, outcomes, strict=True):
                write.result, write.error, write.done = result, failure, True


def _run_all(
    conn: Connection, calls: list[Callable[[Connection], object]]
) -> list[tuple[object, StorageError | None]]:
    return [_run_one(conn, call) for call in calls]


def _run_one(conn: Connection, call: Callable[[Connection], object]) -> tuple[object, StorageError | None]:
    try:
        with conn.begin_nested():
            return call(conn), None
    except StorageError as error:
        return None, error


def _call(fn: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object], conn: Connection) -> T:
    return fn(conn, *args, **kwargs)
