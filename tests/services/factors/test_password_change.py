# SPDX-License-Identifier: Apache-2.0
"""A new password takes the old one and, of who has one, a second factor, by whatever door (threat E8)."""

import pytest

from mezite.services.errors import InvalidRequestError, ProofRequiredError, UnauthenticatedError
from mezite.services.factors.fresh_proof import FRESH_MS, NO_PROOF, Proof
from mezite.services.login.codes import ShownCode
from tests.services.login.second_factors import add_totp, log_in, refusal
from tests.services.world import CLIENT, PASSWORD

NEW_PASSWORD = "another horse battery"


async def change(world, identity, proof=NO_PROOF, *, old=PASSWORD, new=NEW_PASSWORD):
    await world.factors.password.change(identity, old=old, new=new, proof=proof, client_address=CLIENT)


async def test_the_old_password_is_enough_for_who_has_nothing_else(world):
    alice, elsewhere = await world.user(), await world.token("alice")
    with pytest.raises(UnauthenticatedError, match="wrong user name or password"):
        await change(world, alice, old="wrong horse battery")
    with pytest.raises(InvalidRequestError, match="at least 12"):
        await change(world, alice, new="short")
    await change(world, alice)
    with pytest.raises(UnauthenticatedError):
        await world.authenticator.by_session(elsewhere)
    await log_in(world, password=NEW_PASSWORD)
    await refusal(world)


async def test_a_stolen_session_and_the_password_are_not_enough_e8(world):
    phone = await add_totp(world, await world.user())
    alice = await world.session_with("alice", totp=phone.fresh_code())
    certificate = await world.by_certificate(await world.issue(alice))
    world.clock.now += FRESH_MS
    for identity in (alice, certificate):
        with pytest.raises(ProofRequiredError) as asked:
            await change(world, identity)
        assert asked.value.proofs == ("totp", "recovery_code")
        # Nor is the password tried without the factor.
        with pytest.raises(ProofRequiredError):
            await change(world, identity, old="wrong horse battery")
        with pytest.raises(UnauthenticatedError):
            await change(world, identity, Proof(code=ShownCode(totp="000000")))
    await log_in(world, totp=phone.fresh_code())
    await change(world, certificate, Proof(code=ShownCode(totp=phone.fresh_code())))
    await log_in(world, password=NEW_PASSWORD, totp=phone.fresh_code())


async def test_a_factor_shown_a_moment_ago_counts(world):
    phone = await add_totp(world, await world.user())
    alice = await world.session_with("alice", totp=phone.fresh_code())
    await change(world, alice)
    await log_in(world, password=NEW_PASSWORD, totp=phone.fresh_code())
