# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import factors, users
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.factors import FactorKind, FactorRow
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
RACERS = 50


def totp(number=0, **changes):
    row = FactorRow(
        id=f"totp-{number}",
        user_name="alice",
        kind=FactorKind.TOTP,
        name="telephone",
        created_at=NOW + number,
        secret=b"\x00sealed",
        last_step=100,
    )
    return attrs.evolve(row, **changes)


def key(number=0, **changes):
    row = FactorRow(
        id=f"key-{number}",
        user_name="alice",
        kind=FactorKind.WEBAUTHN,
        name="blue key",
        created_at=NOW + 100 + number,
        credential_id=f"credential-{number}",
        public_key=b"cose",
        sign_count=7,
        verifies_user=True,
    )
    return attrs.evolve(row, **changes)


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    return db


async def test_what_is_stored_is_found(people):
    rows = [totp(), totp(1, name="tablet"), key()]
    for row in rows:
        assert await people.write(factors.insert, factor=row) == row
    assert await people.read(factors.list_of_user, user_name="alice") == rows
    assert await people.read(factors.list_of_user, user_name="bob") == []
    assert await people.read(factors.kinds_of_user, user_name="alice") == (
        FactorKind.TOTP,
        FactorKind.WEBAUTHN,
    )
    assert await people.read(factors.kinds_of_user, user_name="bob") == ()
    await people.write(factors.insert, factor=key(1, user_name="bob"))
    assert await people.read(factors.count_by_user) == {
        "alice": {FactorKind.TOTP: 2, FactorKind.WEBAUTHN: 1},
        "bob": {FactorKind.WEBAUTHN: 1},
    }


async def test_a_credential_is_one_users(people):
    """Threat E7: nobody enrols another's key, and nobody logs in with it."""
    await people.write(factors.insert, factor=key())
    with pytest.raises(AlreadyExistsError):
        await people.write(factors.insert, factor=key(1, user_name="bob", credential_id="credential-0"))
    assert await people.read(factors.get_credential, user_name="alice", credential_id="credential-0") == key()
    assert await people.read(factors.get_credential, user_name="bob", credential_id="credential-0") is None
    assert await people.read(factors.get_credential, user_name="alice", credential_id="credential-1") is None


@pytest.mark.parametrize(
    "row",
    [
        totp(user_name="nobody"),
        totp(secret=None),
        totp(last_step=None),
        totp(credential_id="x"),
        key(public_key=None),
        key(sign_count=None),
        key(verifies_user=None),
        key(secret=b"x"),
    ],
)
async def test_half_a_factor_is_refused(people, row):
    with pytest.raises(ConstraintError):
        await people.write(factors.insert, factor=row)


async def test_a_step_is_accepted_once_and_never_an_earlier_one(people):
    await people.write(factors.insert, factor=totp())
    accepted = [
        (step, await people.write(factors.accept_step, factor_id="totp-0", step=step, now=NOW + step))
        for step in (100, 101, 101, 99, 103, 102)
    ]
    assert accepted == [(100, False), (101, True), (101, False), (99, False), (103, True), (102, False)]
    (row,) = await people.read(factors.list_of_user, user_name="alice")
    assert (row.last_step, row.last_used_at) == (103, NOW + 103)


async def test_a_counter_must_grow(people):
    await people.write(factors.insert, factor=key())
    accepted = [
        (count, await people.write(factors.accept_counter, factor_id="key-0", counter=count, now=NOW))
        for count in (7, 8, 8, 6, 0, 9)
    ]
    assert accepted == [(7, False), (8, True), (8, False), (6, False), (0, False), (9, True)]


async def test_a_counter_that_does_not_count(people):
    await people.write(factors.insert, factor=key(sign_count=0))
    for counter, good in ((0, True), (0, True), (1, True), (0, False)):
        found = await people.write(factors.accept_counter, factor_id="key-0", counter=counter, now=NOW)
        assert found is good


async def race(people, function, **arguments):
    won = []

    async def once():
        won.append(await people.write(function, **arguments))

    async with trio.open_nursery() as nursery:
        for _ in range(RACERS):
            nursery.start_soon(once)
    return won


async def test_fifty_at_once(people):
    """Threat E10: of fifty with the same code, or the same answer of a key, one gets in."""
    await people.write(factors.insert, factor=totp())
    await people.write(factors.insert, factor=key())
    assert sum(await race(people, factors.accept_step, factor_id="totp-0", step=101, now=NOW)) == 1
    assert sum(await race(people, factors.accept_counter, factor_id="key-0", counter=8, now=NOW)) == 1


async def test_removing(people):
    for row in (totp(), key(), key(1)):
        await people.write(factors.insert, factor=row)
    assert await people.write(factors.remove, user_name="bob", factor_id="totp-0") is None
    assert await people.write(factors.remove, user_name="alice", factor_id="totp-0") == totp()
    assert await people.write(factors.remove, user_name="alice", factor_id="totp-0") is None
    removed = await people.write(factors.remove_kind, user_name="alice", kind=FactorKind.WEBAUTHN)
    assert sorted(row.id for row in removed) == ["key-0", "key-1"]
    assert await people.write(factors.remove_kind, user_name="alice", kind=FactorKind.WEBAUTHN) == []


async def test_a_deleted_user_takes_them_along(people):
    await people.write(factors.insert, factor=key())
    await people.write(users.delete, name="alice")
    await people.write(factors.insert, factor=key(user_name="bob"))
