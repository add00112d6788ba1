# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import app_logins, users, web_sessions
from mezite.storage.app_logins import AppCodeRow, AppLoginRow
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.users import NewUser
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

NOW = 1_790_000_000_000
KEY, CODE, BROWSER, WEB = "a" * 64, "b" * 64, "c" * 64, "d" * 64
LOGIN = AppLoginRow(
    token_hash=KEY,
    browser_hash=BROWSER,
    host="grafana.apps.example.com",
    target="/d/1?x=%2F",
    client_ip="192.0.2.7:50000",
    created_at=NOW,
    expires_at=NOW + 10,
)
RETURN = AppCodeRow(
    token_hash=CODE,
    browser_hash=BROWSER,
    host="grafana.apps.example.com",
    target="/d/1?x=%2F",
    web_session=WEB,
    factor="webauthn",
    idle_ms=5,
    ends_at=NOW + 100,
    created_at=NOW,
    expires_at=NOW + 10,
)
SESSION = WebSessionRow(
    token_hash=WEB,
    user_name="alice",
    kind=WebSessionKind.WEB,
    created_at=NOW,
    expires_at=NOW + 1000,
    client_ip="192.0.2.7:50000",
)


@pytest.fixture
async def people(db):
    await db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    await db.write(web_sessions.insert, session=SESSION)
    return db


async def test_a_login_is_used_once(db):
    """Threats D18, E10."""
    await db.write(app_logins.insert, login=LOGIN)
    with pytest.raises(AlreadyExistsError):
        await db.write(app_logins.insert, login=LOGIN)
    assert await db.read(app_logins.get_live, token_hash=KEY, now=NOW) == LOGIN
    found = []

    async def consume():
        found.append(await db.write(app_logins.consume, token_hash=KEY, now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(consume)
    assert [row for row in found if isinstance(row, AppLoginRow)] == [attrs.evolve(LOGIN, used_at=NOW)]
    assert found.count(ConsumeFailure.USED) == 19
    assert await db.read(app_logins.get_live, token_hash=KEY, now=NOW) is None


async def test_a_login_expires(db):
    await db.write(app_logins.insert, login=LOGIN)
    assert await db.read(app_logins.count_live, now=NOW) == 1
    assert await db.read(app_logins.get_live, token_hash=KEY, now=NOW + 10) is None
    consumed = await db.write(app_logins.consume, token_hash=KEY, now=NOW + 10)
    assert consumed is ConsumeFailure.EXPIRED
    await db.write(app_logins.delete_stale, before=NOW + 11)
    assert await db.read(app_logins.count_live, now=NOW) == 0


async def test_a_code_is_used_once(people):
    """Threats D18, E10."""
    await people.write(app_logins.insert_code, code=RETURN)
    with pytest.raises(AlreadyExistsError):
        await people.write(app_logins.insert_code, code=RETURN)
    found = []

    async def consume():
        found.append(await people.write(app_logins.consume_code, token_hash=CODE, now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(consume)
    assert [row for row in found if isinstance(row, AppCodeRow)] == [attrs.evolve(RETURN, used_at=NOW)]
    assert found.count(ConsumeFailure.USED) == 19


async def test_a_code_expires_and_goes_with_its_session(people):
    await people.write(app_logins.insert_code, code=RETURN)
    late = await people.write(app_logins.consume_code, token_hash=CODE, now=NOW + 10)
    assert late is ConsumeFailure.EXPIRED
    await people.write(users.delete, name="alice")
    gone = await people.write(app_logins.consume_code, token_hash=CODE, now=NOW)
    assert gone is ConsumeFailure.UNKNOWN
    with pytest.raises(ConstraintError):
        await people.write(app_logins.insert_code, code=RETURN)


async def test_raw_secrets_are_not_stored(people):
    """Threat E11."""
    with pytest.raises(ValueError, match="64"):
        await people.write(app_logins.insert, login=attrs.evolve(LOGIN, token_hash="raw"))
    with pytest.raises(ValueError, match="64"):
        await people.write(app_logins.insert_code, code=attrs.evolve(RETURN, token_hash="raw"))
