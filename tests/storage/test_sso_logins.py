# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import sso_logins, users
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.sso_logins import ClientLoginRow, RoundTripRow
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
STATE, HANDLE, CODE = "a" * 64, "b" * 64, "c" * 64
TRIP = RoundTripRow(
    token_hash=STATE,
    browser_hash="d" * 64,
    connector="keycloak",
    connector_version=NOW,
    return_to="/",
    client_login=None,
    client_ip="192.0.2.7",
    created_at=NOW,
    expires_at=NOW + 10,
)
CLIENT = ClientLoginRow(
    token_hash=HANDLE,
    connector="keycloak",
    challenge="x",
    ssh_public_key="ssh",
    tls_public_key_pem="tls",
    ttl_seconds=0,
    callback_url="",
    user_code="BCDFGHJK",
    client_ip="192.0.2.7",
    created_at=NOW,
    expires_at=NOW + 10,
)


@pytest.fixture
async def waiting(db):
    await db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    await db.write(sso_logins.insert_client, login=CLIENT)
    return db


async def propose(db, *, approved=False, code=CODE, now=NOW):
    return await db.write(
        sso_logins.propose_user,
        token_hash=HANDLE,
        user_name="alice",
        code_hash=code,
        approved=approved,
        now=now,
    )


async def test_a_round_trip_is_used_once(db):
    """Threat E10."""
    await db.write(sso_logins.insert_round_trip, trip=TRIP)
    with pytest.raises(AlreadyExistsError):
        await db.write(sso_logins.insert_round_trip, trip=TRIP)
    found = []

    async def consume():
        found.append(await db.write(sso_logins.consume_round_trip, token_hash=STATE, now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(consume)
    won = [row for row in found if isinstance(row, RoundTripRow)]
    assert won == [attrs.evolve(TRIP, used_at=NOW)]
    assert {row for row in found if row not in won} == {ConsumeFailure.USED}


async def test_a_round_trip_expires(db):
    await db.write(sso_logins.insert_round_trip, trip=TRIP)
    late = await db.write(sso_logins.consume_round_trip, token_hash=STATE, now=NOW + 10)
    assert late is ConsumeFailure.EXPIRED
    assert await db.read(sso_logins.count_live, now=NOW) == 1
    await db.write(sso_logins.delete_stale, before=NOW + 11)
    assert await db.read(sso_logins.count_live, now=NOW) == 0


async def test_raw_secrets_are_not_stored(db):
    """Threat E11."""
    with pytest.raises(ValueError, match="64"):
        await db.write(sso_logins.insert_round_trip, trip=attrs.evolve(TRIP, token_hash="raw"))
    with pytest.raises(ValueError, match="64"):
        await db.write(sso_logins.insert_client, login=attrs.evolve(CLIENT, token_hash="raw"))


async def test_a_client_is_found_until_it_expires(waiting):
    assert await waiting.read(sso_logins.get_client, token_hash=HANDLE, now=NOW) == CLIENT
    assert await waiting.read(sso_logins.get_client_by_code, user_code="BCDFGHJK", now=NOW) == CLIENT
    assert await waiting.read(sso_logins.get_client, token_hash=HANDLE, now=NOW + 10) is None
    assert await waiting.read(sso_logins.get_client_by_code, user_code="BCDFGHJK", now=NOW + 10) is None
    with pytest.raises(AlreadyExistsError):
        await waiting.write(sso_logins.insert_client, login=attrs.evolve(CLIENT, token_hash="e" * 64))
    await waiting.write(sso_logins.delete_stale, before=NOW + 11)
    assert await waiting.read(sso_logins.count_live, now=NOW) == 0


async def test_from_a_proposal_to_the_end(waiting):
    consume = {"token_hash": HANDLE, "now": NOW}
    assert await waiting.write(sso_logins.consume_client, **consume) is ConsumeFailure.UNKNOWN
    assert await propose(waiting)
    assert not await propose(waiting, code="f" * 64)
    assert await waiting.write(sso_logins.consume_client, **consume) is ConsumeFailure.UNKNOWN
    assert await waiting.write(sso_logins.approve_client, code_hash="f" * 64, now=NOW) is None
    approved = await waiting.write(sso_logins.approve_client, code_hash=CODE, now=NOW)
    assert (approved.user_name, approved.approved_at) == ("alice", NOW)
    assert await waiting.write(sso_logins.approve_client, code_hash=CODE, now=NOW) is None
    assert await waiting.write(sso_logins.refuse_client, code_hash=CODE, now=NOW) is None
    used = await waiting.write(sso_logins.consume_client, **consume)
    assert (used.user_name, used.used_at) == ("alice", NOW)
    assert await waiting.write(sso_logins.consume_client, **consume) is ConsumeFailure.USED
    assert await waiting.read(sso_logins.get_client, token_hash=HANDLE, now=NOW) is None


async def test_a_client_that_somebody_refuses(waiting):
    await propose(waiting)
    refused = await waiting.write(sso_logins.refuse_client, code_hash=CODE, now=NOW)
    assert refused.refused_at == NOW
    assert await waiting.write(sso_logins.approve_client, code_hash=CODE, now=NOW) is None
    consumed = await waiting.write(sso_logins.consume_client, token_hash=HANDLE, now=NOW)
    assert consumed is ConsumeFailure.UNKNOWN


async def test_too_late(waiting):
    assert not await propose(waiting, now=NOW + 10)
    assert await propose(waiting, approved=True)
    late = await waiting.write(sso_logins.consume_client, token_hash=HANDLE, now=NOW + 10)
    assert late is ConsumeFailure.EXPIRED


async def test_a_deleted_user_takes_the_login_along(waiting):
    await propose(waiting, approved=True)
    await waiting.write(users.delete, name="alice")
    assert await waiting.read(sso_logins.get_client, token_hash=HANDLE, now=NOW) is None
