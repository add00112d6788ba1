# SPDX-License-Identifier: Apache-2.0
"""What users do with their own factors, and administrators with everybody's."""

import base64

import pytest

from mezite.core.recovery_code import CODE_COUNT
from mezite.services.errors import InvalidRequestError, NotFoundError, ProofRequiredError
from mezite.services.factors.administration import FactorCounts
from mezite.services.factors.fresh_proof import NO_PROOF
from mezite.services.factors.own_factors import MAX_FACTORS, MAX_NAME
from mezite.services.factors.security_keys import CHALLENGE_MS
from mezite.storage import factors, recovery_codes, web_sessions
from mezite.storage.factors import FactorKind, FactorRow
from mezite.storage.secret_box import SecretBox
from tests.services.login.second_factors import WITH_PASSWORD, Telephone, add_key, add_totp, log_in, refusal
from tests.services.world import CLIENT, START


async def begin(world, identity, proof=WITH_PASSWORD):
    return await world.factors.own.begin_totp(identity, proof, client_address=CLIENT)


async def finish(world, identity, challenge_id, code, name="telephone"):
    return await world.factors.own.finish_totp(identity, challenge_id, code, name, client_address=CLIENT)


def telephone(world, begun):
    return Telephone(world, base64.b32decode(begun.secret.reveal()))


async def test_a_secret_becomes_a_factor_with_its_first_code(world):
    alice = await world.user("alice")
    begun = await begin(world, alice)
    assert begun.uri.reveal().startswith("otpauth://totp/test:alice?secret=")
    phone, challenge_id = telephone(world, begun), begun.challenge_id.reveal()
    with pytest.raises(InvalidRequestError, match="not the code"):
        await finish(world, alice, challenge_id, "000000")
    assert await world.factors.own.listed(alice) == []
    enrolled = await finish(world, alice, challenge_id, phone.code())
    assert (enrolled.factor.name, enrolled.factor.kind) == ("telephone", FactorKind.TOTP)
    assert len({code.reveal() for code in enrolled.recovery_codes}) == CODE_COUNT
    with pytest.raises(InvalidRequestError, match="is over"):
        await finish(world, alice, challenge_id, phone.fresh_code())
    (event,) = await world.events("user.mfa.added")
    assert (event["user_name"], event["factor"], event["factor_id"]) == ("alice", "totp", enrolled.factor.id)
    assert begun.secret.reveal() not in str(await world.events())
    assert begun.secret.reveal() not in repr(begun)


async def test_without_a_proof_nothing_changes(world):
    alice = await world.user("alice")
    own = world.factors.own
    for call in (own.begin_totp, own.begin_key):
        with pytest.raises(ProofRequiredError):
            await call(alice, NO_PROOF, client_address=CLIENT)
    phone = await add_totp(world, alice)
    thief = await world.by_certificate(await world.issue(alice))
    with pytest.raises(ProofRequiredError):
        await own.remove(thief, phone.factor_id, NO_PROOF, client_address=CLIENT)
    with pytest.raises(ProofRequiredError):
        await own.new_recovery_codes(thief, NO_PROOF, client_address=CLIENT)
    assert len(await own.listed(alice)) == 1


async def test_an_enrolment_is_one_sessions_and_ends(world):
    alice, bob = await world.user("alice"), await world.user("bob")
    begun = await begin(world, alice)
    phone = telephone(world, begun)
    for somebody in (bob, await world.session("alice"), await world.by_certificate(await world.issue(alice))):
        with pytest.raises(InvalidRequestError, match="is over"):
            await finish(world, somebody, begun.challenge_id.reveal(), phone.code())
    world.clock.now += CHALLENGE_MS
    with pytest.raises(InvalidRequestError, match="is over"):
        await finish(world, alice, begun.challenge_id.reveal(), phone.code())


@pytest.mark.parametrize("name", ["x" * (MAX_NAME + 1), "a\x1b[2J", "two\nlines"])
async def test_names_that_are_none(world, name):
    """Threat H1: they are printed in terminals."""
    alice = await world.user("alice")
    begun = await begin(world, alice)
    with pytest.raises(InvalidRequestError, match="printable"):
        await finish(world, alice, begun.challenge_id.reveal(), "000000", name)


async def test_a_second_factor_brings_no_second_sheet_of_codes(world):
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    await add_key(world, alice, NO_PROOF)
    assert await world.factors.own.recovery_codes_left(alice) == CODE_COUNT
    await log_in(world, recovery_code=phone.recovery_codes[0])
    assert await world.factors.own.recovery_codes_left(alice) == CODE_COUNT - 1


async def test_new_codes_end_the_old_ones(world):
    alice = await world.user("alice")
    with pytest.raises(InvalidRequestError, match="add one first"):
        await world.factors.own.new_recovery_codes(alice, WITH_PASSWORD, client_address=CLIENT)
    phone = await add_totp(world, alice)
    codes = await world.factors.own.new_recovery_codes(alice, NO_PROOF, client_address=CLIENT)
    await refusal(world, recovery_code=phone.recovery_codes[1])
    await log_in(world, recovery_code=codes[1].reveal())
    assert (await world.events("user.mfa.added"))[-1]["factor"] == "recovery_codes"


async def test_removing(world):
    alice, bob = await world.user("alice"), await world.user("bob")
    phone = await add_totp(world, alice)
    await add_totp(world, bob)
    await add_key(world, alice, NO_PROOF)
    own = world.factors.own
    with pytest.raises(NotFoundError):
        await own.remove(bob, phone.factor_id, NO_PROOF, client_address=CLIENT)
    await own.remove(alice, phone.factor_id, NO_PROOF, client_address=CLIENT)
    assert await own.recovery_codes_left(alice) == CODE_COUNT
    (key,) = await own.listed(alice)
    await own.remove(alice, key.id, NO_PROOF, client_address=CLIENT)
    assert await own.recovery_codes_left(alice) == 0
    assert [event["factor"] for event in await world.events("user.mfa.removed")] == ["totp", "webauthn"]
    assert (await log_in(world)).user.name == "alice"


async def test_there_are_only_so_many(world):
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    for number in range(1, MAX_FACTORS):
        row = FactorRow(
            id=f"f-{number}",
            user_name="alice",
            kind=FactorKind.TOTP,
            name="x",
            created_at=START,
            secret=b"plain:" + b"00" * 20,
            last_step=0,
        )
        await world.database.write(factors.insert, factor=row)
    with pytest.raises(InvalidRequestError, match="the most"):
        await begin(world, alice, NO_PROOF)
    await log_in(world, totp=phone.fresh_code())


async def test_a_secret_is_sealed_where_there_is_a_passphrase(world):
    """As the CA keys are."""
    own = world.factors.own
    own._box = world.codes._box = SecretBox(b"open sesame", token_bytes=world.sources.token_bytes)
    phone = await add_totp(world, await world.user("alice"))
    (row,) = await world.database.read(factors.list_of_user, user_name="alice")
    assert phone.secret.hex().encode() not in row.secret
    await log_in(world, totp=phone.fresh_code())


async def test_administrators_see_and_reset(world):
    alice = await world.user("alice")
    phone = await add_totp(world, alice)
    await add_key(world, alice, NO_PROOF)
    administration = world.factors.administration
    assert await administration.counts() == {
        "alice": FactorCounts(totp=1, webauthn=1, recovery_codes=CODE_COUNT)
    }
    assert {row.kind for row in await administration.listed("alice")} == set(FactorKind)
    reset = {"by": "root", "client_address": CLIENT}
    assert await administration.reset("alice", FactorKind.TOTP, **reset) == 1
    assert await administration.reset("alice", FactorKind.TOTP, **reset) == 0
    await refusal(world, totp=phone.fresh_code())
    await log_in(world, recovery_code=phone.recovery_codes[0])
    assert await administration.reset("alice", FactorKind.WEBAUTHN, **reset) == 1
    assert await world.database.read(recovery_codes.count_unused, user_name="alice") == 0
    events = await world.events("user.mfa.removed")
    assert [(event["user_name"], event["resource_name"]) for event in events] == [("root", "alice")] * 2
    for call in (administration.listed("nobody"), administration.reset("nobody", FactorKind.TOTP, **reset)):
        with pytest.raises(NotFoundError):
            await call


async def test_the_first_factor_ends_what_a_password_began_e8(world):
    """Whoever knew the password may sit in a session, or have begun to enrol a telephone of their own."""
    alice, thief = await world.user("alice"), await world.session("alice")
    begun = await begin(world, thief)
    phone = await add_totp(world, alice)
    assert await world.database.read(web_sessions.get_live, token_hash=alice.session_hash, now=START)
    assert not await world.database.read(web_sessions.get_live, token_hash=thief.session_hash, now=START)
    with pytest.raises(InvalidRequestError, match="is over"):
        await finish(world, thief, begun.challenge_id.reveal(), telephone(world, begun).code())
    # Those that were begun with the factor stay when there is a second one.
    later = await world.session_with("alice", totp=phone.fresh_code())
    await add_key(world, alice, NO_PROOF)
    assert await world.database.read(web_sessions.get_live, token_hash=later.session_hash, now=START)


async def test_a_certificate_that_adds_the_first_factor_keeps_no_session(world):
    alice = await world.user("alice")
    await add_totp(world, await world.by_certificate(await world.issue(alice)))
    assert not await world.database.read(web_sessions.list_live, user_name="alice", now=START)
