# SPDX-License-Identifier: Apache-2.0
"""A stolen session is not enough to change the factors of an account. With a key: test_key_login."""

import pytest

from mezite.services.errors import ProofRequiredError, UnauthenticatedError
from mezite.services.factors.fresh_proof import FRESH_MS, NO_PROOF, Proof
from mezite.services.login.attempts import MAX_ATTEMPTS
from mezite.services.login.codes import ShownCode
from mezite.storage import users
from mezite.storage.users import NewUser
from tests.services.login.second_factors import WITH_PASSWORD, add_key, add_totp, log_in
from tests.services.world import CLIENT, HOUR, START


async def require(world, identity, proof=NO_PROOF):
    await world.factors.proof.require(identity, proof, client_address=CLIENT)


async def needed(world, identity, proof=NO_PROOF):
    with pytest.raises(ProofRequiredError) as required:
        await require(world, identity, proof)
    return required.value.proofs


async def test_the_password_where_there_is_no_factor(world):
    alice = await world.user("alice")
    assert await needed(world, alice) == ("password",)
    assert await needed(world, alice, Proof(code=ShownCode(totp="123456"))) == ("password",)
    with pytest.raises(UnauthenticatedError, match="wrong"):
        await require(world, alice, Proof(password="wrong password"))
    await require(world, alice, WITH_PASSWORD)
    # It is not remembered: a page that was left open does not know the password.
    assert await needed(world, alice) == ("password",)


async def test_no_password_where_there_is_a_factor(world):
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    await require(world, alice)
    world.clock.now += FRESH_MS - 1
    await require(world, alice)
    world.clock.now += 1
    assert await needed(world, alice, WITH_PASSWORD) == ("totp", "recovery_code")
    await require(world, alice, Proof(code=ShownCode(totp=phone.fresh_code())))
    await require(world, alice)
    world.clock.now += FRESH_MS
    await require(world, alice, Proof(code=ShownCode(recovery_code=phone.recovery_codes[0])))
    assert FRESH_MS == 5 * 60 * 1000


async def test_a_proof_is_one_sessions(world):
    alice = await world.user("alice")
    other = await world.session("alice")
    phone = await add_totp(world, alice)
    assert await needed(world, other) == ("totp", "recovery_code")
    fresh = await world.session_with("alice", totp=phone.fresh_code())
    await require(world, fresh)
    assert await needed(world, other) == ("totp", "recovery_code")


async def test_a_certificate_is_never_fresh(world):
    alice = await world.user("alice")
    bearer = await world.by_certificate(await world.issue(alice))
    assert await needed(world, bearer) == ("password",)
    phone = await add_totp(world, bearer)
    await add_key(world, alice, Proof(code=ShownCode(totp=phone.fresh_code())))
    assert await needed(world, bearer) == ("totp", "webauthn", "recovery_code")
    await require(world, bearer, Proof(code=ShownCode(totp=phone.fresh_code())))
    assert await needed(world, bearer) == ("totp", "webauthn", "recovery_code")


async def test_wrong_proofs_lock_the_name(world):
    """A stolen session is no place to guess codes either."""
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    world.clock.now += FRESH_MS
    for number in range(MAX_ATTEMPTS):
        with pytest.raises(UnauthenticatedError):
            await require(world, alice, Proof(code=ShownCode(totp=f"{number:06}")))
    with pytest.raises(UnauthenticatedError):
        await require(world, alice, Proof(code=ShownCode(totp=phone.fresh_code())))
    assert len(await world.events("user.locked.out")) == 1


async def test_right_proofs_are_given_back(world):
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    for _ in range(2 * MAX_ATTEMPTS):
        world.clock.now += FRESH_MS
        await require(world, alice, Proof(code=ShownCode(totp=phone.fresh_code())))
    await log_in(world, totp=phone.fresh_code())


async def test_who_has_neither_password_nor_factor_logs_in_again(world):
    """From a connector."""
    await world.database.write(users.insert, user=NewUser(name="carol"), now=START)
    carol = await world.users_session("carol")
    await require(world, carol)
    world.clock.now += FRESH_MS
    assert await needed(world, carol) == ("login",)
    assert FRESH_MS < HOUR


def test_a_proof_does_not_show_itself():
    """Threat H6."""
    proof = Proof(password="canary", challenge_id="canary", credential={"id": "canary"})
    assert "canary" not in repr(proof)
