# SPDX-License-Identifier: Apache-2.0
import hashlib

import attrs
import pytest

from mezite.storage import users, web_sessions
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.users import NewUser
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

NOW = 1_790_000_000_000


def session(number=0, **changes):
    row = WebSessionRow(
        token_hash=hashlib.sha256(b"session %d" % number).hexdigest(),
        user_name="alice",
        kind=WebSessionKind.WEB,
        created_at=NOW + number,
        expires_at=NOW + 1000,
        client_ip="2001:db8::7",
    )
    return attrs.evolve(row, **changes)


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    return db


async def test_a_session_lives_until_it_expires(people):
    assert await people.write(web_sessions.insert, session=session()) == session()
    found = {"token_hash": session().token_hash}
    assert await people.read(web_sessions.get_live, **found, now=NOW + 999) == session()
    assert await people.read(web_sessions.get_live, **found, now=NOW + 1000) is None
    assert await people.read(web_sessions.get, **found) == session()
    assert await people.read(web_sessions.get_live, token_hash="0" * 64, now=NOW) is None


async def test_a_revoked_session_is_dead_at_once(people):
    await people.write(web_sessions.insert, session=session(kind=WebSessionKind.API))
    found = {"token_hash": session().token_hash}
    assert await people.write(web_sessions.revoke, **found, now=NOW + 1)
    assert not await people.write(web_sessions.revoke, **found, now=NOW + 2)
    assert await people.read(web_sessions.get_live, **found, now=NOW + 2) is None
    row = await people.read(web_sessions.get, **found)
    assert (row.revoked_at, row.kind) == (NOW + 1, WebSessionKind.API)


async def test_revoking_a_users_sessions_leaves_those_of_others(people):
    for number in range(3):
        await people.write(web_sessions.insert, session=session(number))
    await people.write(web_sessions.insert, session=session(3, user_name="bob"))
    await people.write(web_sessions.revoke, token_hash=session(0).token_hash, now=NOW)
    kept = session(1).token_hash
    assert await people.write(web_sessions.revoke_of_user, user_name="alice", now=NOW, keep=kept) == 1
    assert await people.read(web_sessions.get_live, token_hash=kept, now=NOW) is not None
    assert await people.write(web_sessions.revoke_of_user, user_name="alice", now=NOW) == 1
    assert await people.read(web_sessions.list_live, now=NOW) == [session(3, user_name="bob")]


async def test_lists_are_newest_first(people):
    for number in range(2):
        await people.write(web_sessions.insert, session=session(number))
    await people.write(web_sessions.insert, session=session(2, user_name="bob"))
    assert await people.read(web_sessions.list_live, user_name="alice", now=NOW) == [session(1), session(0)]
    assert len(await people.read(web_sessions.list_live, now=NOW)) == 3
    assert await people.read(web_sessions.list_live, now=NOW + 1000) == []


async def test_there_is_an_end_to_them(people, monkeypatch):
    """A script that logs in for ever has its newest sessions; others have theirs."""
    monkeypatch.setattr("mezite.storage.web_sessions.MAX_LIVE", 3)
    await people.write(web_sessions.insert, session=session(9, user_name="bob"))
    for number in range(5):
        await people.write(web_sessions.insert, session=session(number))
    live = await people.read(web_sessions.list_live, user_name="alice", now=NOW)
    assert live == [session(number) for number in (4, 3, 2)]
    assert len(await people.read(web_sessions.list_live, user_name="bob", now=NOW)) == 1
    gone = await people.read(web_sessions.get, token_hash=session(0).token_hash)
    assert gone.revoked_at == NOW + 3


async def test_insert_refuses(people):
    await people.write(web_sessions.insert, session=session())
    with pytest.raises(AlreadyExistsError):
        await people.write(web_sessions.insert, session=session(user_name="bob"))
    with pytest.raises(ConstraintError):
        await people.write(web_sessions.insert, session=session(1, user_name="nobody"))
    with pytest.raises(ValueError, match="64 lower-case hex"):
        await people.write(web_sessions.insert, session=session(token_hash="the secret itself"))


async def test_expired_ones_are_deleted(people):
    await people.write(web_sessions.insert, session=session(0, expires_at=NOW))
    await people.write(web_sessions.insert, session=session(1))
    assert await people.write(web_sessions.delete_stale, before=NOW + 1) == 1
    assert await people.read(web_sessions.get, token_hash=session(0).token_hash) is None


async def test_sessions_go_with_the_user(people):
    await people.write(web_sessions.insert, session=session())
    await people.write(users.delete, name="alice")
    assert await people.read(web_sessions.get, token_hash=session().token_hash) is None


async def test_when_a_factor_was_shown(people):
    row = await people.write(web_sessions.insert, session=session())
    assert row.factor_at is None
    assert await people.write(web_sessions.note_factor, token_hash=row.token_hash, now=NOW + 5)
    assert not await people.write(web_sessions.note_factor, token_hash="f" * 64, now=NOW + 5)
    assert (await people.read(web_sessions.get, token_hash=row.token_hash)).factor_at == NOW + 5
