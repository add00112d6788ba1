# SPDX-License-Identifier: Apache-2.0
"""A process that appends audit events in groups and says on stdout what became of each group.

`ok FIRST LAST`: write() has returned, the rows are promised. `failed ERROR`: write() has raised. Given a
number of groups it ends after them, else it runs until it is killed.
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


async def main(path, groups):
    async with await Database.open(path) as db:
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
    trio.run(main, sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10**9)
