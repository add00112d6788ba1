# SPDX-License-Identifier: Apache-2.0
"""Threats E7 and E8: what was shown for one thing is good for that thing, once."""

import attrs
import pytest
import trio

from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor
from mezite.services.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
)
from mezite.services.proofs.pending_proof import MAX_TARGETS, MAX_WINDOW_S, ProofRequest
from mezite.services.proofs.session_proof import ONCE_MS, PENDING_MS
from tests.services.login.second_factors import add_key, add_totp
from tests.services.world import CLIENT, MINUTE, WEB_URL

ASKED = ProofRequest(
    user_name="alice",
    needs=SessionMfa.ANY,
    kind=ProvenFor.NODE,
    targets=("ubuntu@web-1",),
    serial="7",
    bound_to="connection 1",
    client_address=CLIENT,
)


@pytest.fixture
def proofs(world):
    return world.factors.sessions


@pytest.fixture
async def alice(world):
    return await world.user()


@pytest.fixture
async def phone(world, alice):
    return await add_totp(world, alice)


async def begun(proofs, **changes):
    return await proofs.begin(attrs.evolve(ASKED, **changes))


async def touch(proofs, identity, pending, key, **said):
    asked = await proofs.begin_key(identity, pending.id.reveal())
    await proofs.show_key(
        identity,
        pending.id.reveal(),
        asked.id.reveal(),
        key.get(asked.options, **said),
        client_address=CLIENT,
    )


async def test_a_code_finishes_it_and_it_is_used_once(world, proofs, alice, phone):
    pending = await begun(proofs)
    proof_id = pending.id.reveal()
    assert pending.url == f"{WEB_URL}/approve#{proof_id}"
    assert pending.factors == ("totp",)
    view = await proofs.view(alice, proof_id)
    assert (view.state, view.code, view.factors) == ("pending", pending.code, ("totp",))
    assert await proofs.take(proof_id, "connection 1") is None
    await proofs.show_code("alice", proof_id, phone.fresh_code(), client_address=CLIENT)
    assert (await proofs.view(alice, proof_id)).state == "proven"
    assert await proofs.take(proof_id, "connection 2") is None
    proof = await proofs.take(proof_id, "connection 1")
    assert proof.factor is ProvenFactor.TOTP
    assert proof.at == world.clock.now
    assert proof.targets == {"ubuntu@web-1"}
    assert (proof.user_name, proof.serial, proof.kind) == ("alice", "7", ProvenFor.NODE)
    assert await proofs.take(proof_id, "connection 1") is None
    event = (await world.events("user.mfa.proven"))[-1]
    assert event["user_name"] == "alice"
    assert event["targets"] == ["ubuntu@web-1"]
    assert event["factor"] == "totp"


async def test_a_code_is_good_for_one_proof(proofs, phone):
    first, second = await begun(proofs), await begun(proofs)
    code = phone.fresh_code()
    await proofs.show_code("alice", first.id.reveal(), code, client_address=CLIENT)
    with pytest.raises(UnauthenticatedError, match="used before"):
        await proofs.show_code("alice", second.id.reveal(), code, client_address=CLIENT)


async def test_wrong_codes_count_like_wrong_passwords(world, proofs, phone):
    pending = await begun(proofs)
    for _ in range(5):
        with pytest.raises(UnauthenticatedError) as refused:
            await proofs.show_code("alice", pending.id.reveal(), "000000", client_address=CLIENT)
        assert refused.value.event_id
    with pytest.raises(UnauthenticatedError):
        await proofs.show_code("alice", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT)
    assert await world.events("user.locked.out")


async def test_a_recovery_code_opens_no_session(proofs, phone):
    pending = await begun(proofs)
    with pytest.raises(UnauthenticatedError):
        await proofs.show_code("alice", pending.id.reveal(), phone.recovery_codes[0], client_address=CLIENT)


async def test_too_late(world, proofs, alice, phone):
    pending = await begun(proofs)
    world.clock.now += PENDING_MS
    for attempt in (
        proofs.show_code("alice", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT),
        proofs.view(alice, pending.id.reveal()),
    ):
        with pytest.raises(NotFoundError, match="too late"):
            await attempt
    assert await proofs.wait_decided(pending.id.reveal()) is None


async def test_shown_and_not_used_at_once(world, proofs, phone):
    pending = await begun(proofs)
    await proofs.show_code("alice", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT)
    world.clock.now += ONCE_MS
    assert await proofs.take(pending.id.reveal(), "connection 1") is None


async def test_another_user_sees_and_finishes_nothing(world, proofs, alice, phone):
    bob = await world.user("bob")
    other = await add_totp(world, bob)
    pending = await begun(proofs)
    proof_id = pending.id.reveal()
    with pytest.raises(NotFoundError) as looked:
        await proofs.view(bob, proof_id)
    assert not looked.value.event_id
    with pytest.raises(NotFoundError) as acted:
        await proofs.show_code("bob", proof_id, other.fresh_code(), client_address=CLIENT)
    assert acted.value.event_id == (await world.events("user.mfa.refused"))[-1]["id"]
    with pytest.raises(NotFoundError):
        await proofs.refuse(bob, proof_id, client_address=CLIENT)
    with pytest.raises(NotFoundError):
        await proofs.begin_key(bob, proof_id)
    assert (await proofs.view(alice, proof_id)).state == "pending"


async def test_a_key_finishes_it(world, proofs, alice):
    key = await add_key(world, alice)
    pending = await begun(proofs, needs=SessionMfa.HARDWARE_KEY)
    assert pending.factors == ("webauthn",)
    await touch(proofs, alice, pending, key)
    proof = await proofs.take(pending.id.reveal(), "connection 1")
    assert proof.factor is ProvenFactor.HARDWARE_KEY
    with pytest.raises(NotFoundError, match="decided"):
        await touch(proofs, alice, pending, key)


async def test_a_passkey_that_is_copied_is_no_hardware_key(world, proofs, alice):
    key = await add_key(world, alice, synced=True)
    hard = await begun(proofs, needs=SessionMfa.HARDWARE_KEY)
    with pytest.raises(UnauthenticatedError):
        await touch(proofs, alice, hard, key)
    assert "can be copied" in (await world.events("user.login.failed"))[-1]["error_message"]
    soft = await begun(proofs, needs=SessionMfa.WEBAUTHN)
    await touch(proofs, alice, soft, key)
    assert (await proofs.take(soft.id.reveal(), "connection 1")).factor is ProvenFactor.WEBAUTHN


async def test_a_touch_for_one_proof_does_not_finish_another_e7(world, proofs, alice):
    key = await add_key(world, alice)
    shown, wanted = await begun(proofs), await begun(proofs, targets=("root@db-1",))
    asked = await proofs.begin_key(alice, shown.id.reveal())
    answer = key.get(asked.options)
    with pytest.raises(UnauthenticatedError):
        await proofs.show_key(alice, wanted.id.reveal(), asked.id.reveal(), answer, client_address=CLIENT)
    await proofs.show_key(alice, shown.id.reveal(), asked.id.reveal(), answer, client_address=CLIENT)
    with pytest.raises(UnauthenticatedError):
        await proofs.show_key(alice, shown.id.reveal(), asked.id.reveal(), answer, client_address=CLIENT)


async def test_a_code_where_a_key_is_needed(world, proofs, alice, phone):
    pending = await begun(proofs, needs=SessionMfa.ANY)
    row = await proofs.view(alice, pending.id.reveal())
    assert row.factors == ("totp",)
    with pytest.raises(AccessDeniedError, match="none that would do"):
        await begun(proofs, needs=SessionMfa.WEBAUTHN)
    await add_key(world, await world.session_with("alice", totp=phone.fresh_code()))
    hard = await begun(proofs, needs=SessionMfa.WEBAUTHN)
    assert hard.factors == ("webauthn",)
    with pytest.raises(InvalidRequestError, match="needs a security key"):
        await proofs.show_code("alice", hard.id.reveal(), phone.fresh_code(), client_address=CLIENT)


async def test_this_was_not_me(world, proofs, alice, phone):
    pending = await begun(proofs)
    await proofs.refuse(alice, pending.id.reveal(), client_address=CLIENT)
    assert (await proofs.view(alice, pending.id.reveal())).state == "refused"
    assert (await proofs.wait_decided(pending.id.reveal())).refused_at == world.clock.now
    assert (await world.events("user.mfa.refused"))[-1]["error_message"] == "the user refused it"
    with pytest.raises(NotFoundError):
        await proofs.show_code("alice", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT)
    with pytest.raises(NotFoundError):
        await proofs.refuse(alice, pending.id.reveal(), client_address=CLIENT)


async def test_who_waits_is_told(proofs, phone, autojump_clock):
    pending = await begun(proofs)
    told = []

    async def wait() -> None:
        told.append(await proofs.wait_decided(pending.id.reveal()))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await proofs.show_code("alice", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT)
    assert told[0].factor is ProvenFactor.TOTP


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"targets": ()}, "between 1 and"),
        ({"targets": ("web-1",) * (MAX_TARGETS + 1)}, "between 1 and"),
        ({"window_seconds": MAX_WINDOW_S + 1}, "at most 1h"),
        ({"window_seconds": -1}, "at most 1h"),
    ],
)
async def test_too_much_at_once(proofs, phone, changes, text):
    with pytest.raises(InvalidRequestError, match=text):
        await begun(proofs, **changes)


async def test_without_a_factor_there_is_nothing_to_ask_for(proofs, alice):
    with pytest.raises(AccessDeniedError, match="msh mfa add"):
        await begun(proofs)


@pytest.fixture
async def carol_session(world):
    return await world.user("carol")


@pytest.fixture
async def carol(world, carol_session):
    """By her certificate."""
    return await world.by_certificate(await world.issue(carol_session))


@pytest.fixture
async def her_phone(world, carol_session):
    return await add_totp(world, carol_session)


async def ahead(proofs, identity, phone, **changes):
    request = {"user_name": "carol", "serial": identity.serial, "bound_to": "", **changes}
    pending = await begun(proofs, **request)
    await proofs.show_code("carol", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT)


async def test_shown_ahead_for_one_connection(world, proofs, carol_session, carol, her_phone):
    await ahead(proofs, carol, her_phone)

    async def taken(node="web-1", login="ubuntu", needs=SessionMfa.ANY, identity=carol):
        return await proofs.take_for_node(identity, node, (login,), needs)

    assert await taken(node="web-2") is None
    assert await taken(login="root") is None
    assert await taken(needs=SessionMfa.WEBAUTHN) is None
    newer = await world.by_certificate(await world.issue(carol_session))
    assert await taken(identity=newer) is None
    assert (await taken()).factor is ProvenFactor.TOTP
    assert await taken() is None


async def test_a_window_for_a_declared_set_of_hosts(world, proofs, carol, her_phone):
    await ahead(proofs, carol, her_phone, targets=("web-1", "root@db-1"), window_seconds=600)
    for _ in range(2):
        assert await proofs.take_for_node(carol, "web-1", ("ubuntu", "root"), SessionMfa.TOTP)
        assert await proofs.take_for_node(carol, "db-1", ("root",), SessionMfa.TOTP)
    assert await proofs.take_for_node(carol, "db-1", ("ubuntu",), SessionMfa.TOTP) is None
    assert await proofs.take_for_node(carol, "web-3", ("ubuntu",), SessionMfa.TOTP) is None
    world.clock.now += 10 * MINUTE
    assert await proofs.take_for_node(carol, "web-1", ("ubuntu",), SessionMfa.TOTP) is None


async def test_for_an_application(world, proofs, alice, phone):
    pending = await proofs.begin_for_app(alice, "grafana", SessionMfa.TOTP, client_address=CLIENT)
    assert await proofs.take_for_app(alice, "grafana") is None
    await proofs.show_code("alice", pending.id.reveal(), phone.fresh_code(), client_address=CLIENT)
    assert await proofs.take_for_app(alice, "prometheus") is None
    elsewhere = await world.session_with("alice", totp=phone.fresh_code())
    assert await proofs.take_for_app(elsewhere, "grafana") is None
    proof = await proofs.take_for_app(alice, "grafana")
    assert proof.covers("app", "grafana", None)
    assert await proofs.take_for_app(alice, "grafana") is None
