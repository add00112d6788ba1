# SPDX-License-Identifier: Apache-2.0
"""Logging in with a password and a code: what gets in, and all that does not."""

import pytest
import trio

from mezite.core.secret import token_hash
from mezite.core.totp import STEP_SECONDS
from mezite.services.errors import MfaRequiredError
from mezite.services.factors.fresh_proof import Proof
from mezite.services.login.attempts import LOCK_MS, MAX_ATTEMPTS
from mezite.services.login.codes import MAX_CODE, ShownCode
from mezite.services.login.password_login import LoginRefusedError
from mezite.storage import factors, users, web_sessions
from mezite.storage.factors import FactorRow
from tests.services.login.second_factors import add_key, add_totp, log_in, refusal
from tests.services.world import CLIENT, PASSWORD, START


async def sessions_of(world, name="alice"):
    rows = await world.database.read(web_sessions.list_live, user_name=name, now=world.clock.now)
    return len(rows)


async def test_a_password_alone_is_not_enough(world):
    """Threats E7, E8."""
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    await add_key(world, alice)
    before = await sessions_of(world)
    with pytest.raises(MfaRequiredError) as needed:
        await log_in(world)
    assert needed.value.factors == ("totp", "webauthn")
    event = (await world.events("user.login.failed"))[-1]
    assert (event["id"], event["user_name"]) == (needed.value.event_id, "alice")
    assert event["error_message"] == "a second factor is missing"
    assert await sessions_of(world) == before
    started = await log_in(world, totp=phone.fresh_code())
    row = await world.database.read(web_sessions.get, token_hash=token_hash(started.token.reveal()))
    assert row.factor_at == world.clock.now
    assert (await world.events("user.login"))[-1]["factor"] == "totp"


async def test_a_code_is_asked_for_only_behind_the_right_password(world):
    """Threat E17: nobody learns who has a second factor, or who there is."""
    phone = await add_totp(world, await world.user("alice"))
    texts = {
        str(await refusal(world, "alice", "wrong password", totp=phone.fresh_code())),
        str(await refusal(world, "alice", "wrong password", totp="000000")),
        str(await refusal(world, "alice", PASSWORD, totp="000000")),
        str(await refusal(world, "nobody", PASSWORD, totp="000000")),
    }
    assert texts == {"wrong user name, password or code (after 5 failures a name is locked for 30m)"}
    plain = {str(await refusal(world, name, "wrong")) for name in ("alice", "nobody")}
    assert plain == {"wrong user name or password (after 5 failures a name is locked for 30m)"}


async def test_who_has_no_factor_needs_no_code(world):
    await world.user("alice")
    assert (await log_in(world, totp="123456")).user.name == "alice"
    assert (await world.events("user.login"))[-1]["factor"] == ""


async def test_a_code_is_good_once(world):
    """Threat E10; RFC 6238 section 5.2."""
    phone = await add_totp(world, await world.user("alice"))
    await refusal(world, totp=phone.code())  # It was shown when the secret was enrolled.
    code = phone.fresh_code()
    await log_in(world, totp=code)
    await refusal(world, totp=code)
    await refusal(world, totp=phone.code(-1))
    await log_in(world, totp=phone.code(1))


async def test_fifty_with_one_code(world):
    """Threat E10: the code that was looked at over a shoulder is raced; one of fifty gets in."""
    phone = await add_totp(world, await world.user("alice"))
    code, found = phone.fresh_code(), []

    async def once():
        found.append(await world.codes.check("alice", ShownCode(totp=code)))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(once)
    assert len([each for each in found if each is not None]) == 1


@pytest.mark.parametrize("steps", [-3, -2, 2, 3])
async def test_codes_of_other_times(world, steps):
    phone = await add_totp(world, await world.user("alice"))
    world.clock.now += 10 * STEP_SECONDS * 1000
    await refusal(world, totp=phone.code(steps))


@pytest.mark.parametrize("code", ["0" * (MAX_CODE + 1), " ", "abcdef", "\ud800", "１２３４５６"])  # noqa: RUF001
async def test_what_is_no_code(world, code):
    await add_totp(world, await world.user("alice"))
    await refusal(world, totp=code)
    await refusal(world, recovery_code=code)


async def test_another_users_code(world):
    phone = await add_totp(world, await world.user("alice"))
    await add_totp(world, await world.user("bob"))
    await refusal(world, "bob", totp=phone.fresh_code())
    await refusal(world, "bob", recovery_code=phone.recovery_codes[0])
    await log_in(world, "alice", recovery_code=phone.recovery_codes[0])


async def test_two_telephones(world):
    alice = await world.user("alice")
    one = await add_totp(world, alice)
    other = await add_totp(world, await world.session_with("alice", totp=one.fresh_code()), Proof())
    for phone in (one, other):
        await log_in(world, totp=phone.fresh_code())


async def test_a_recovery_code_is_good_once(world):
    phone = await add_totp(world, await world.user("alice"))
    code = phone.recovery_codes[3]
    started = await log_in(world, recovery_code=code.upper().replace("-", " "))
    assert started.user.name == "alice"
    assert (await world.events("user.login"))[-1]["factor"] == "recovery_code"
    await refusal(world, recovery_code=code)
    await log_in(world, recovery_code=phone.recovery_codes[4])


async def test_wrong_codes_lock_the_name_like_wrong_passwords(world):
    """Five tries, whatever is tried; and the right password between them does not start the count afresh."""
    phone = await add_totp(world, await world.user("alice"))
    for number in range(MAX_ATTEMPTS):
        await refusal(world, totp=f"{number:06}")
        if number < MAX_ATTEMPTS - 1:
            with pytest.raises(MfaRequiredError):
                await log_in(world)
    await refusal(world, totp=phone.fresh_code())
    await refusal(world)
    (event,) = await world.events("user.locked.out")
    assert (event["user_name"], event["success"]) == ("alice", False)
    assert event["until_ms"] <= world.clock.now + LOCK_MS
    world.clock.now += LOCK_MS
    await log_in(world, totp=phone.fresh_code())
    assert (await world.database.read(users.get, name="alice")).failed_logins == 0


async def test_asking_for_the_factor_locks_nobody_out(world):
    """A browser that asks, gives up and asks again is no attack."""
    phone = await add_totp(world, await world.user("alice"))
    for _ in range(3 * MAX_ATTEMPTS):
        with pytest.raises(MfaRequiredError):
            await log_in(world)
    await log_in(world, totp=phone.fresh_code())


async def test_a_factor_that_is_enrolled_while_a_password_is_checked(world):
    """Threat E8: the session would begin without it."""
    await world.user("alice")
    user = await world.login.check_password("alice", PASSWORD, client_address=CLIENT)
    row = FactorRow(
        id="f-1",
        user_name="alice",
        kind=factors.FactorKind.TOTP,
        name="x",
        created_at=START,
        secret=b"\0s",
        last_step=0,
    )
    await world.database.write(factors.insert, factor=row)
    before = await sessions_of(world)
    with pytest.raises(LoginRefusedError):
        await world.login.start(user, None, client_address=CLIENT, kind=web_sessions.WebSessionKind.API)
    assert await sessions_of(world) == before


async def test_secrets_are_in_no_repr_and_no_event(world):
    """Threat H6."""
    phone = await add_totp(world, await world.user("alice"))
    code = phone.fresh_code()
    shown = ShownCode(totp=code, recovery_code=phone.recovery_codes[0])
    assert code not in repr(shown)
    await refusal(world, totp="000000")
    log = str(await world.events())
    assert all(code not in log for code in phone.recovery_codes)
    (row,) = await world.database.read(factors.list_of_user, user_name="alice")
    assert "secret" not in repr(row)
