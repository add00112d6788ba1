# SPDX-License-Identifier: Apache-2.0
"""Programs that a person at the pages of the hub lets in: with a factor, once, knowing whom (threats E4, E7, E10)."""

import json

import attrs
import pytest

from mezite.services.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    ProofRequiredError,
    UnauthenticatedError,
)
from mezite.services.factors.fresh_proof import FRESH_MS, NO_PROOF, Proof
from mezite.services.sso.program_logins import ProgramLogins, WhichProgram
from tests.services.login.second_factors import WITH_PASSWORD, add_key
from tests.services.sso.identity_provider import FakeOidc, serving
from tests.services.sso.test_clients import CALLBACK, DEVICE, ELSEWHERE, LOOPBACK, VERIFIER
from tests.services.sso.world import Visitor, connect, open_world_sso
from tests.services.world import CLIENT

HERE = attrs.evolve(LOOPBACK, connector="local")
ANYWHERE = attrs.evolve(DEVICE, connector="local")


@pytest.fixture
def programs(world):
    return ProgramLogins(clients=open_world_sso(world).clients, proof=world.factors.proof)


async def begin(programs, request=HERE):
    return await programs.clients.begin(request, client_address=ELSEWHERE)


async def finish(programs, begun, code="", verifier=VERIFIER):
    return await programs.clients.finish(begun.handle.reveal(), verifier, code, client_address=ELSEWHERE)


async def decide(programs, identity, which, *, allowed=True, proof=NO_PROOF):
    return await programs.decide(identity, which, allowed=allowed, proof=proof, client_address=CLIENT)


def by_handle(begun):
    return WhichProgram(handle=begun.handle.reveal())


async def with_key(world):
    """A user whose only factor is a security key, who has touched it to enrol it."""
    alice = await world.user("alice")
    return alice, await add_key(world, alice)


async def proof_of(world, identity, key):
    asked = await world.factors.proof.begin(identity)
    return Proof(challenge_id=asked.id.reveal(), credential=key.get(asked.options))


async def test_on_the_same_machine(world, programs):
    alice, key = await with_key(world)
    world.clock.now += FRESH_MS
    begun = await begin(programs)
    question = await programs.look_up(by_handle(begun), client_address=CLIENT)
    assert (question.client_address, question.user_code) == (ELSEWHERE, "")
    with pytest.raises(ProofRequiredError):
        await decide(programs, alice, by_handle(begun))
    redirect = await decide(programs, alice, by_handle(begun), proof=await proof_of(world, alice, key))
    base, _, code = redirect.partition("?code=")
    assert base == CALLBACK
    for wrong in ("", code[:-1]):
        with pytest.raises(UnauthenticatedError, match="the code is wrong"):
            await finish(programs, begun, wrong)
    with pytest.raises(UnauthenticatedError, match="not the program that began"):
        await finish(programs, begun, code, "x" * 43)
    issued = await finish(programs, begun, code)
    assert (issued.user_name, issued.logins) == ("alice", ("ubuntu",))
    assert (await world.by_certificate(issued)).name == "alice"
    with pytest.raises(NotFoundError):
        await finish(programs, begun, code)
    *_, event = await world.events("user.login")
    assert (event["user_name"], event["method"], event["client_ip"]) == ("alice", "browser", "198.51.100.9")


async def test_with_a_code(world, programs):
    alice, _key = await with_key(world)
    begun = await begin(programs, ANYWHERE)
    which = WhichProgram(user_code=begun.user_code.lower())
    assert (await programs.look_up(which, client_address=CLIENT)).user_code == begun.user_code
    assert await finish(programs, begun) is None
    assert await decide(programs, alice, which) == ""
    assert (await finish(programs, begun)).user_name == "alice"


async def test_who_has_no_factor_shows_the_password(world, programs):
    alice, begun = await world.user("alice"), await begin(programs)
    with pytest.raises(ProofRequiredError) as asked:
        await decide(programs, alice, by_handle(begun))
    assert asked.value.proofs == ("password",)
    assert await decide(programs, alice, by_handle(begun), proof=WITH_PASSWORD)


async def test_a_program_that_nobody_knows(world, programs):
    alice, begun = await world.user("alice"), await begin(programs)
    assert await decide(programs, alice, by_handle(begun), allowed=False) == ""
    with pytest.raises(UnauthenticatedError, match="did not allow"):
        await finish(programs, begun)
    *_, event = await world.events("user.login.failed")
    assert (event["user_name"], event["method"], event["client_ip"]) == ("alice", "browser", "198.51.100.9")
    with pytest.raises(NotFoundError, match="begin again, in the program"):
        await decide(programs, alice, by_handle(begun), proof=WITH_PASSWORD)


async def test_of_two_who_answer_one_does_e10(world, programs, monkeypatch):
    alice, begun = await world.user("alice"), await begin(programs)
    row = await programs._row(by_handle(begun), CLIENT)
    await decide(programs, alice, by_handle(begun), proof=WITH_PASSWORD)

    async def as_before(*_):
        return row

    monkeypatch.setattr(ProgramLogins, "_row", as_before)
    with pytest.raises(ConflictError, match="answered already"):
        await decide(programs, alice, by_handle(begun), allowed=False)


@pytest.mark.parametrize("which", [WhichProgram(handle="0" * 64), WhichProgram(user_code="BCDF-GHJK")])
async def test_what_no_program_has(programs, which):
    with pytest.raises(NotFoundError):
        await programs.look_up(which, client_address=CLIENT)


async def test_a_login_through_a_connector_is_not_answered_here(world):
    """Nor the other way round: each is approved by what it was begun for (threat E4)."""
    async with serving(FakeOidc, lambda: world.clock.now // 1000) as idp:
        sso = open_world_sso(world)
        await connect(sso, idp)
        programs = ProgramLogins(clients=sso.clients, proof=world.factors.proof)
        alice, begun = await world.user("root", ("admin",)), await begin(programs, LOOPBACK)
        with pytest.raises(NotFoundError):
            await decide(programs, alice, by_handle(begun), proof=WITH_PASSWORD)
        local = await begin(programs)
        name, hashed = await sso.clients.connector_of(local.handle.reveal())
        with pytest.raises(NotFoundError, match="connector local"):
            await Visitor(sso, idp).begin(name, client_login=hashed)
        with pytest.raises(InvalidRequestError, match="local is what"):
            await connect_as(sso, idp, "local")


async def connect_as(sso, idp, name):
    document = {**idp.document(), "metadata": {"name": name}}
    await sso.catalog.put(json.dumps(document), by="root", client_address=CLIENT)
