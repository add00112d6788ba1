# SPDX-License-Identifier: Apache-2.0
"""A process that appends audit events in groups and says on stdout what became of each group.

    writer.py PATH GROUPS FULL|NORMAL

`ok FIRST LAST`: write() has returned, the rows are promised. `failed ERROR`: write() has raised. NORMAL
weakens the synchronisation below what Database sets: a negative control.
"""

import sys

import trio

from mezite.storage import audit_events
from mezite.storage.audit_events import AuditEventRow
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

GROUP = 20


def rows(first):
    return [
        AuditEventRow(
            id=f"e-{seq:08}",
            hub_id="hub-1",
            seq=seq,
            event_type="user.login",
            timestamp=seq,
            json="{}" + " " * 500,
            prev_hash=str(seq - 1),
            hash=str(seq),
        )
        for seq in range(first, first + GROUP)
    ]


def say(*words):
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def set_synchronous(conn, level):
    assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL is what Database sets
    conn.exec_driver_sql("COMMIT")  # it has no effect within a transaction
    conn.exec_driver_sql(f"PRAGMA synchronous = {level}")
    conn.exec_driver_sql("BEGIN")


async def main(path, groups, synchronous):
    async with await Database.open(path) as db:
        await db.write(set_synchronous, synchronous)
        say("open")
        for number in range(groups):
            group = rows(number * GROUP + 1)
            try:
                await db.write(audit_events.append_many, rows=group)
            except StorageError as error:
                say("failed", type(error).__name__)
            else:
                say("ok", group[0].seq, group[-1].seq)
    say("closed")


if __name__ == "__main__":
    path, groups, level = sys.argv[1:]
    trio.run(main, path, int(groups), level)
