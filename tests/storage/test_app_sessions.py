# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest

from mezite.storage import access_changes, app_logins, app_sessions, users, web_sessions
from mezite.storage.access_changes import AccessChange
from mezite.storage.app_logins import AppCodeRow
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.users import NewUser
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

NOW = 1_790_000_000_000
WEB, HOST = "d" * 64, "grafana.apps.example.com"
SECRET = "e" * 64


def session(**changes):
    row = AppSessionRow(
        id="s-1",
        token_hash=SECRET,
        host=HOST,
        user_name="alice",
        web_session=WEB,
        factor="",
        client_ip="192.0.2.7:50000",
        created_at=NOW,
        expires_at=NOW + 10,
        idle_ms=10,
        ends_at=NOW + 100,
    )
    return attrs.evolve(row, **changes)


@pytest.fixture
async def people(db):
    for number, name in enumerate(("alice", "bob")):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
        web = WebSessionRow(
            token_hash=str(number) * 64 if number else WEB,
            user_name=name,
            kind=WebSessionKind.WEB,
            created_at=NOW,
            expires_at=NOW + 1000,
            client_ip="192.0.2.7:50000",
        )
        await db.write(web_sessions.insert, session=web)
    await db.write(app_sessions.insert, session=session())
    return db


async def live(db, now=NOW, **wanted):
    return await db.read(app_sessions.get_live, **{"token_hash": SECRET, "host": HOST, "now": now, **wanted})


async def test_it_is_good_at_its_host_until_it_expires(people):
    """Threat D18."""
    assert await live(people) == session()
    assert await live(people, host="wiki.apps.example.com") is None
    assert await live(people, token_hash="f" * 64) is None
    assert await live(people, now=NOW + 9) == session()
    assert await live(people, now=NOW + 10) is None


async def test_it_is_renewed_up_to_its_end(people):
    await people.write(app_sessions.renew, ids=["s-1"], now=NOW + 50)
    assert (await live(people, now=NOW + 59)).expires_at == NOW + 60
    await people.write(app_sessions.renew, ids=["s-1"], now=NOW + 95)
    assert await live(people, now=NOW + 99) is not None
    assert await live(people, now=NOW + 100) is None
    await people.write(app_sessions.renew, ids=["s-1"], now=NOW + 100)
    assert await live(people, now=NOW + 100) is None


async def test_a_revoked_one_is_dead_at_once_and_hubs_hear_of_it(people):
    """Threat E14."""
    assert not await people.read(app_sessions.is_revoked, id="s-1")
    row = await people.write(app_sessions.revoke, id="s-1", now=NOW + 1)
    assert row == session(revoked_at=NOW + 1)
    assert await people.write(app_sessions.revoke, id="s-1", now=NOW + 1) is None
    assert await live(people, now=NOW + 1) is None
    await people.write(app_sessions.renew, ids=["s-1"], now=NOW + 2)
    assert await live(people, now=NOW + 2) is None
    assert await people.read(app_sessions.is_revoked, id="s-1")
    assert (await people.read(access_changes.counts))[AccessChange.SESSIONS] == 1


async def test_it_ends_with_the_web_session_and_with_the_user(people):
    """Threat E14."""
    await people.write(web_sessions.revoke, token_hash=WEB, now=NOW)
    assert await live(people) is None
    assert await people.read(app_sessions.list_live, now=NOW) == []
    await people.write(users.delete, name="alice")
    assert await people.read(app_sessions.is_revoked, id="s-1")


async def test_it_ends_when_the_web_session_expires(people):
    await people.write(
        app_sessions.insert, session=session(id="s-2", token_hash="2" * 64, ends_at=NOW + 5000)
    )
    await people.write(app_sessions.renew, ids=["s-2"], now=NOW + 995)
    wanted = {"token_hash": "2" * 64}
    assert await live(people, now=NOW + 999, **wanted) is not None
    assert await live(people, now=NOW + 1000, **wanted) is None


async def test_they_are_listed(people):
    others = session(id="s-2", token_hash="2" * 64, user_name="bob", web_session="1" * 64, created_at=NOW + 1)
    await people.write(app_sessions.insert, session=others)
    assert await people.read(app_sessions.list_live, now=NOW) == [others, session()]
    assert await people.read(app_sessions.list_live, user_name="alice", now=NOW) == [session()]


async def test_what_is_refused(people):
    """Threat E11."""
    with pytest.raises(AlreadyExistsError):
        await people.write(app_sessions.insert, session=session(id="s-2"))
    with pytest.raises(ValueError, match="64"):
        await people.write(app_sessions.insert, session=session(id="s-2", token_hash="raw"))
    with pytest.raises(ConstraintError):
        await people.write(
            app_sessions.insert, session=session(id="s-2", token_hash="2" * 64, web_session="9" * 64)
        )


async def test_all_at_a_host_are_revoked(people):
    other = session(id="s-2", token_hash="2" * 64, host="wiki.apps.example.com")
    await people.write(app_sessions.insert, session=other)
    code = AppCodeRow(
        token_hash="c" * 64,
        browser_hash="b" * 64,
        host=HOST,
        target=f"https://{HOST}/",
        web_session=WEB,
        factor="",
        idle_ms=10,
        ends_at=NOW + 100,
        created_at=NOW,
        expires_at=NOW + 60,
    )
    await people.write(app_logins.insert_code, code=code)
    counts = await people.read(access_changes.counts)
    assert await people.write(app_sessions.revoke_at, host=HOST, now=NOW) == 1
    assert await live(people) is None
    assert await people.read(app_sessions.list_live, now=NOW) == [other]
    assert await people.write(app_logins.consume_code, token_hash="c" * 64, now=NOW) is ConsumeFailure.UNKNOWN
    changed = await people.read(access_changes.counts)
    assert changed[AccessChange.SESSIONS] == counts[AccessChange.SESSIONS] + 1
    assert await people.write(app_sessions.revoke_at, host=HOST, now=NOW) == 0
    assert await people.read(access_changes.counts) == changed


async def test_ended_ones_are_deleted(people):
    await people.write(app_sessions.delete_stale, before=NOW + 100)
    assert not await people.read(app_sessions.is_revoked, id="s-1")
    await people.write(app_sessions.delete_stale, before=NOW + 101)
    assert await people.read(app_sessions.is_revoked, id="s-1")
