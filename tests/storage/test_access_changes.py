# SPDX-License-Identifier: Apache-2.0
"""The counters by which hubs notice changes (threat E14): whoever takes something away counts."""

import pytest
import trio

from mezite.storage import access_changes, roles, users, web_sessions
from mezite.storage.access_changes import AccessChange
from mezite.storage.users import NewUser
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

NOW = 1_790_000_000_000
HASH = "a" * 64


async def test_each_kind_has_its_own_counter(db):
    assert await db.read(access_changes.counts) == dict.fromkeys(AccessChange, 0)
    for _ in range(3):
        await db.write(access_changes.note, AccessChange.RIGHTS)
    await db.write(access_changes.note, AccessChange.ORDERS)
    assert await db.read(access_changes.counts) == {
        AccessChange.RIGHTS: 3,
        AccessChange.SESSIONS: 0,
        AccessChange.ORDERS: 1,
        AccessChange.APPS: 0,
    }


async def test_no_change_is_lost_among_many(db):
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(db.write, access_changes.note, AccessChange.RIGHTS)
    assert (await db.read(access_changes.counts))[AccessChange.RIGHTS] == 20


async def test_a_change_that_was_undone_does_not_count(db):
    def fail(conn):
        access_changes.note(conn, AccessChange.RIGHTS)
        raise KeyError("undone")

    with pytest.raises(KeyError):
        await db.write(fail)
    assert (await db.read(access_changes.counts))[AccessChange.RIGHTS] == 0


async def test_all_that_takes_rights_away_counts(db):
    await db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    await db.write(roles.put, name="dev", document="{}", now=NOW)
    session = WebSessionRow(
        token_hash=HASH,
        user_name="alice",
        kind=WebSessionKind.API,
        created_at=NOW,
        expires_at=NOW,
        client_ip="",
    )
    await db.write(web_sessions.insert, session=session)
    for kind, write, arguments in (
        (AccessChange.RIGHTS, users.update, {"name": "alice", "roles": (), "now": NOW}),
        (AccessChange.RIGHTS, users.set_disabled, {"name": "alice", "disabled": True, "now": NOW}),
        (AccessChange.RIGHTS, roles.put, {"name": "dev", "document": '{"a":1}', "now": NOW}),
        (AccessChange.RIGHTS, roles.delete, {"name": "dev"}),
        (AccessChange.SESSIONS, web_sessions.revoke, {"token_hash": HASH, "now": NOW}),
        (AccessChange.RIGHTS, users.delete, {"name": "alice"}),
    ):
        before = await db.read(access_changes.counts)
        await db.write(write, **arguments)
        after = await db.read(access_changes.counts)
        assert after == before | {kind: before[kind] + 1}, write


async def test_sessions_of_a_user_count_once(db):
    await db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    for digit in "abc":
        session = WebSessionRow(
            token_hash=digit * 64,
            user_name="alice",
            kind=WebSessionKind.API,
            created_at=NOW,
            expires_at=NOW,
            client_ip="",
        )
        await db.write(web_sessions.insert, session=session)
    for expected in (3, 0):
        assert await db.write(web_sessions.revoke_of_user, user_name="alice", now=NOW) == expected
    assert not await db.write(web_sessions.revoke, token_hash="a" * 64, now=NOW)
    assert (await db.read(access_changes.counts))[AccessChange.SESSIONS] == 1
