# SPDX-License-Identifier: Apache-2.0
import hashlib

import attrs
import pytest
import trio

from mezite.storage import invites, users
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.invites import InviteRow
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
RACERS = 50


def invite(number=0, **changes):
    row = InviteRow(
        token_hash=hashlib.sha256(b"invite %d" % number).hexdigest(),
        user_name="alice",
        created_at=NOW + number,
        expires_at=NOW + 86_400_000,
    )
    return attrs.evolve(row, **changes)


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    return db


async def test_consumed_once(people):
    row = await people.write(invites.insert, invite=invite())
    assert row == invite() == await people.read(invites.get, token_hash=row.token_hash)
    used = await people.write(invites.consume, token_hash=row.token_hash, now=NOW + 1)
    assert used == invite(used_at=NOW + 1)
    assert await people.write(invites.consume, token_hash=row.token_hash, now=NOW + 2) is ConsumeFailure.USED
    # Used and expired: it was used.
    late = await people.write(invites.consume, token_hash=row.token_hash, now=row.expires_at + 1)
    assert late is ConsumeFailure.USED


async def test_unknown_and_expired(people):
    row = await people.write(invites.insert, invite=invite())
    assert await people.write(invites.consume, token_hash="f" * 64, now=NOW) is ConsumeFailure.UNKNOWN
    expired = await people.write(invites.consume, token_hash=row.token_hash, now=row.expires_at)
    assert expired is ConsumeFailure.EXPIRED
    assert await people.read(invites.get, token_hash="f" * 64) is None


async def test_insert_refuses_a_known_hash_and_an_unknown_user(people):
    await people.write(invites.insert, invite=invite())
    with pytest.raises(AlreadyExistsError):
        await people.write(invites.insert, invite=invite(user_name="bob"))
    with pytest.raises(ConstraintError):
        await people.write(invites.insert, invite=invite(1, user_name="nobody"))


async def test_a_newer_invite_can_replace_the_older_ones(people):
    for number in range(2):
        await people.write(invites.insert, invite=invite(number))
    await people.write(invites.insert, invite=invite(2, user_name="bob"))
    assert await people.read(invites.list_of_user, user_name="alice") == [invite(1), invite(0)]
    assert await people.write(invites.delete_of_user, user_name="alice") == 2
    assert await people.read(invites.list_of_user, user_name="alice") == []
    assert len(await people.read(invites.list_of_user, user_name="bob")) == 1


async def test_stale_ones_go(people):
    await people.write(invites.insert, invite=invite(0, used_at=NOW - 1))
    await people.write(invites.insert, invite=invite(1, expires_at=NOW - 1))
    await people.write(invites.insert, invite=invite(2))
    assert await people.write(invites.delete_stale, before=NOW) == 2
    assert await people.read(invites.list_of_user, user_name="alice") == [invite(2)]


async def test_invites_go_with_the_user(people):
    await people.write(invites.insert, invite=invite())
    await people.write(users.delete, name="alice")
    assert await people.read(invites.get, token_hash=invite().token_hash) is None


async def test_fifty_at_once_have_one_winner_e10_t17(people):
    for number in range(5):
        row = await people.write(invites.insert, invite=invite(number))
        results = []

        async def use(row=row, results=results):
            results.append(await people.write(invites.consume, token_hash=row.token_hash, now=NOW))

        async with trio.open_nursery() as nursery:
            for _ in range(RACERS):
                nursery.start_soon(use)
        assert sum(isinstance(result, InviteRow) for result in results) == 1
        assert results.count(ConsumeFailure.USED) == RACERS - 1
