# SPDX-License-Identifier: Apache-2.0
import pytest
import trio

from mezite.storage import users
from mezite.storage.errors import AlreadyExistsError
from mezite.storage.users import LoginAttempt, NewUser, UserRow

NOW = 1_790_000_000_000
ALICE = NewUser(
    name="alice",
    password_hash="$argon2id$x",
    roles=("access", "auditor"),
    traits={"logins": ("root", "ubuntu"), "team": ()},
)


async def test_a_new_user_is_read_back_as_it_was_written(db):
    written = await db.write(users.insert, user=ALICE, now=NOW)
    assert written == await db.read(users.get, name="alice")
    assert written == UserRow(
        name="alice",
        password_hash="$argon2id$x",
        roles=("access", "auditor"),
        traits={"logins": ("root", "ubuntu"), "team": ()},
        created_at=NOW,
        updated_at=NOW,
        disabled_at=None,
        failed_logins=0,
        last_failed_at=None,
        locked_until=None,
    )


async def test_a_name_is_taken_once_and_the_first_stays(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    with pytest.raises(AlreadyExistsError, match="user 'alice' already exists") as caught:
        await db.write(users.insert, user=NewUser(name="alice"), now=NOW + 1)
    assert (caught.value.what, caught.value.key) == ("user", "alice")
    assert (await db.read(users.get, name="alice")).password_hash == "$argon2id$x"


async def test_names_are_told_apart_by_case_and_by_unicode_form(db):
    for name in ("alice", "Alice", "\u00e9", "e\u0301"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    assert await db.read(users.count) == 4
    assert await db.read(users.get, name="ALICE") is None


async def test_a_list_goes_on_after_a_name(db):
    for name in ("carol", "alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    first = await db.read(users.list_all, limit=2)
    rest = await db.read(users.list_all, after=first[-1].name)
    assert [row.name for row in first + rest] == ["alice", "bob", "carol"]


async def test_update_replaces_only_what_is_given(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    row = await db.write(users.update, name="alice", roles=("admin",), now=NOW + 5)
    assert (row.roles, row.traits, row.updated_at) == (("admin",), ALICE.traits, NOW + 5)
    row = await db.write(users.update, name="alice", traits={}, now=NOW + 6)
    assert (row.roles, row.traits) == (("admin",), {})
    assert await db.write(users.update, name="nobody", roles=(), now=NOW) is None


async def test_disabling_again_keeps_the_first_time(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    assert await db.write(users.set_disabled, name="alice", disabled=True, now=NOW + 1)
    assert await db.write(users.set_disabled, name="alice", disabled=True, now=NOW + 2)
    assert (await db.read(users.get, name="alice")).disabled_at == NOW + 1
    assert await db.write(users.set_disabled, name="alice", disabled=False, now=NOW + 3)
    assert (await db.read(users.get, name="alice")).disabled_at is None
    assert not await db.write(users.set_disabled, name="nobody", disabled=True, now=NOW)


async def test_delete(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    assert await db.write(users.delete, name="alice")
    assert not await db.write(users.delete, name="alice")
    assert await db.read(users.count) == 0


def attempt(db, now, name="alice"):
    return db.write(users.count_login_attempt, name=name, max_attempts=3, lock_ms=1000, now=now)


async def test_the_last_attempt_is_allowed_and_locks(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    assert await attempt(db, NOW) == LoginAttempt(allowed=True, attempts=1, locked_until=None)
    assert await attempt(db, NOW) == LoginAttempt(allowed=True, attempts=2, locked_until=None)
    assert await attempt(db, NOW) == LoginAttempt(allowed=True, attempts=3, locked_until=NOW + 1000)
    assert await attempt(db, NOW + 999) == LoginAttempt(allowed=False, attempts=3, locked_until=NOW + 1000)
    # The lock's end is exclusive, and the count starts again.
    assert await attempt(db, NOW + 1000) == LoginAttempt(allowed=True, attempts=1, locked_until=None)


async def test_a_failure_is_forgotten_when_it_is_as_old_as_a_lock(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    await attempt(db, NOW)
    await attempt(db, NOW + 999)
    assert (await attempt(db, NOW + 1999)).attempts == 1


async def test_a_success_and_a_new_password_clear_the_count(db):
    await db.write(users.insert, user=ALICE, now=NOW)
    await attempt(db, NOW)
    assert await db.write(users.clear_failed_logins, name="alice")
    assert (await attempt(db, NOW)).attempts == 1
    assert await db.write(users.set_password, name="alice", password_hash="$new", now=NOW + 9)
    row = await db.read(users.get, name="alice")
    assert (row.password_hash, row.failed_logins, row.last_failed_at, row.updated_at) == (
        "$new",
        0,
        None,
        NOW + 9,
    )


async def test_no_such_user(db):
    assert await attempt(db, NOW, name="nobody") is None
    assert not await db.write(users.clear_failed_logins, name="nobody")
    assert not await db.write(users.set_password, name="nobody", password_hash=None, now=NOW)


async def test_guesses_sent_at_once_are_all_counted_e10(db):
    """20 concurrent guesses: only three of them may look at the password."""
    await db.write(users.insert, user=ALICE, now=NOW)
    seen = []

    async def guess():
        seen.append(await attempt(db, NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(guess)
    assert sorted(one.attempts for one in seen if one.allowed) == [1, 2, 3]
    assert sum(not one.allowed for one in seen) == 17


def test_the_password_hash_is_not_in_the_repr_h6():
    assert "argon2id" not in repr(ALICE)


async def test_a_right_attempt_is_given_back_and_the_wrong_ones_stay(db):
    """Who knows the password alone neither locks the name with it nor starts the count afresh."""
    await db.write(users.insert, user=NewUser(name="alice"), now=NOW)
    counted = {"name": "alice", "max_attempts": 3, "lock_ms": 1000, "now": NOW}
    assert not await db.write(users.give_back_login_attempt, name="alice")
    assert not await db.write(users.give_back_login_attempt, name="nobody")
    for _ in range(2):
        await db.write(users.count_login_attempt, **counted)
    for _ in range(4):
        attempt = await db.write(users.count_login_attempt, **counted)
        assert (attempt.allowed, attempt.attempts, attempt.locked_until) == (True, 3, NOW + 1000)
        assert await db.write(users.give_back_login_attempt, name="alice")
    assert (await db.write(users.count_login_attempt, **counted)).allowed
    assert not (await db.write(users.count_login_attempt, **counted)).allowed
