# SPDX-License-Identifier: Apache-2.0
import hashlib

import attrs
import pytest
import trio

from mezite.storage import mfa_challenges, users
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.mfa_challenges import MAX_LIVE, ChallengeAction, ChallengeRow
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
END = NOW + 300_000


def challenge(number=0, **changes):
    row = ChallengeRow(
        token_hash=hashlib.sha256(b"challenge %d" % number).hexdigest(),
        user_name="alice",
        bound_to="session 1",
        action=ChallengeAction.PROOF,
        payload=b"sign this",
        created_at=NOW + number,
        expires_at=END,
    )
    return attrs.evolve(row, **changes)


ASKED = {
    "token_hash": challenge().token_hash,
    "action": ChallengeAction.PROOF,
    "bound_to": "session 1",
    "user_name": "alice",
    "now": NOW + 1,
}


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    await db.write(mfa_challenges.insert, challenge=challenge())
    return db


async def test_once(people):
    assert await people.read(mfa_challenges.find, **ASKED) == challenge()
    assert await people.write(mfa_challenges.consume, **ASKED) == challenge(used_at=NOW + 1)
    assert await people.write(mfa_challenges.consume, **ASKED) is None
    assert await people.read(mfa_challenges.find, **ASKED) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"token_hash": "f" * 64},
        {"action": ChallengeAction.LOGIN},
        {"action": ChallengeAction.ADD_WEBAUTHN},
        {"bound_to": "session 2"},
        {"bound_to": ""},
        {"user_name": "bob"},
        {"now": END},
    ],
)
async def test_for_nothing_else(people, changed):
    """Threat E7: another user, session or action, or too late; and it stays good for who asked for it."""
    for function in (mfa_challenges.find, mfa_challenges.consume):
        assert await people.write(function, **ASKED | changed) is None
    assert await people.write(mfa_challenges.consume, **ASKED) is not None


async def test_who_does_not_know_the_user_yet(people):
    found = await people.write(mfa_challenges.consume, **ASKED | {"user_name": None})
    assert found is not None
    assert found.user_name == "alice"


async def test_fifty_at_once(people):
    """Threat E10."""
    won = []

    async def once():
        won.append(await people.write(mfa_challenges.consume, **ASKED))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(once)
    assert len([row for row in won if row is not None]) == 1


async def test_there_are_only_so_many(people):
    await people.write(mfa_challenges.insert, challenge=challenge(1000, user_name="bob"))
    for number in range(1, 2 * MAX_LIVE):
        await people.write(mfa_challenges.insert, challenge=challenge(number))
    live = [
        number
        for number in range(2 * MAX_LIVE)
        if await people.read(mfa_challenges.find, **ASKED | {"token_hash": challenge(number).token_hash})
    ]
    assert live == list(range(MAX_LIVE, 2 * MAX_LIVE))
    assert await people.write(mfa_challenges.delete_of_user, user_name="alice") == MAX_LIVE
    assert await people.write(mfa_challenges.delete_of_user, user_name="bob") == 1


async def test_what_has_ended_is_cleared_away(people):
    await people.write(
        mfa_challenges.insert,
        challenge=challenge(1, user_name="bob", created_at=END, expires_at=END + 1),
    )
    assert await people.write(mfa_challenges.delete_of_user, user_name="alice") == 0


async def test_what_cannot_be_stored(people):
    with pytest.raises(AlreadyExistsError):
        await people.write(mfa_challenges.insert, challenge=challenge())
    with pytest.raises(ConstraintError):
        await people.write(mfa_challenges.insert, challenge=challenge(1, user_name="nobody"))
    with pytest.raises(ValueError, match="hex"):
        await people.write(mfa_challenges.insert, challenge=challenge(1, token_hash="raw"))
