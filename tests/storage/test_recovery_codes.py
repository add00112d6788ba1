# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
import trio

from mezite.storage import recovery_codes, users
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
HASHES = [hashlib.sha256(b"code %d" % number).hexdigest() for number in range(10)]


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    await db.write(recovery_codes.replace, user_name="alice", hashes=HASHES, now=NOW)
    return db


async def test_each_once_and_only_for_its_user(people):
    assert await people.read(recovery_codes.count_unused, user_name="alice") == 10
    assert await people.read(recovery_codes.count_unused, user_name="bob") == 0
    consume = recovery_codes.consume
    assert not await people.write(consume, user_name="bob", token_hash=HASHES[0], now=NOW)
    assert await people.write(consume, user_name="alice", token_hash=HASHES[0], now=NOW)
    assert not await people.write(consume, user_name="alice", token_hash=HASHES[0], now=NOW)
    assert not await people.write(consume, user_name="alice", token_hash="f" * 64, now=NOW)
    assert await people.read(recovery_codes.count_unused, user_name="alice") == 9
    await people.write(recovery_codes.replace, user_name="bob", hashes=["b" * 64], now=NOW)
    assert await people.read(recovery_codes.count_unused_by_user) == {"alice": 9, "bob": 1}


async def test_new_ones_end_the_old_ones(people):
    await people.write(recovery_codes.replace, user_name="alice", hashes=["a" * 64], now=NOW)
    assert not await people.write(recovery_codes.consume, user_name="alice", token_hash=HASHES[1], now=NOW)
    assert await people.write(recovery_codes.delete_of_user, user_name="alice") == 1


async def test_a_raw_code_is_not_stored(people):
    """Threat E11."""
    with pytest.raises(ValueError, match="hex"):
        await people.write(recovery_codes.replace, user_name="alice", hashes=["abcd-efgh"], now=NOW)


async def test_fifty_at_once(people):
    """Threat E10."""
    won = []

    async def once():
        won.append(
            await people.write(recovery_codes.consume, user_name="alice", token_hash=HASHES[3], now=NOW)
        )

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(once)
    assert sum(won) == 1
