# SPDX-License-Identifier: Apache-2.0
"""What the page for approving a session calls."""

import pytest

from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFor
from mezite.services.proofs.pending_proof import ProofRequest
from tests.services.login.second_factors import add_key, add_totp
from tests.services.world import CLIENT, START
from tests.web.browser import browsing, document, make_app


@pytest.fixture
async def app(world):
    return make_app(world)[0]


@pytest.fixture
async def alice(world):
    return await world.user("alice")


async def waiting(world, needs=SessionMfa.ANY):
    pending = await world.factors.sessions.begin(
        ProofRequest(
            user_name="alice",
            needs=needs,
            kind=ProvenFor.NODE,
            targets=("root@db-1",),
            serial="7",
            bound_to="c-1:ab",
            client_address=CLIENT,
        )
    )
    return pending, f"proofs/{pending.id.reveal()}"


async def test_a_code(world, app, alice):
    token = await world.token("alice")
    phone = await add_totp(world, await world.authenticator.by_session(token))
    pending, path = await waiting(world)
    async with browsing(app, token) as browser:
        shown = document(await browser.get(path))
        assert shown == {
            "user": "alice",
            "kind": "node",
            "targets": ["root@db-1"],
            "needs": "any",
            "window_seconds": 0,
            "asked_from": "192.0.2.7",
            "created_at_ms": shown["created_at_ms"],
            "expires_at_ms": shown["created_at_ms"] + 180_000,
            "state": "pending",
            "code": pending.code,
            "factors": ["totp"],
        }
        assert (await browser.post(f"{path}/totp", {"code": "000000"})).status == 401
        code = phone.fresh_code()
        answer = await browser.post(f"{path}/totp", {"code": f"{code[:3]} {code[3:]}"})
        assert document(answer) == {"state": "proven"}
        assert document(await browser.get(path))["state"] == "proven"
        assert (await browser.post(f"{path}/totp", {"code": phone.fresh_code()})).status == 404
    assert shown["created_at_ms"] >= START


async def test_a_key(world, app, alice):
    token = await world.token("alice")
    key = await add_key(world, await world.authenticator.by_session(token))
    pending, path = await waiting(world, SessionMfa.WEBAUTHN)
    async with browsing(app, token) as browser:
        asked = document(await browser.post(f"{path}/webauthn/begin", {}))
        answer = {"challenge_id": asked["challenge_id"], "credential": key.get(asked["options"])}
        assert document(await browser.post(f"{path}/webauthn/finish", answer)) == {"state": "proven"}
        assert (await browser.post(f"{path}/webauthn/finish", answer)).status == 401
    assert await world.factors.sessions.take(pending.id.reveal(), "c-1:ab")


async def test_no(world, app, alice):
    token = await world.token("alice")
    await add_totp(world, await world.authenticator.by_session(token))
    _pending, path = await waiting(world)
    async with browsing(app, token) as browser:
        assert document(await browser.post(f"{path}/refuse", {})) == {"state": "refused"}
        assert (await browser.post(f"{path}/refuse", {})).status == 404


async def test_somebody_else_and_nobody(world, app, alice):
    await add_totp(world, alice)
    await world.user("bob")
    _pending, path = await waiting(world)
    async with browsing(app, await world.token("bob")) as browser:
        assert (await browser.get(path)).status == 404
        assert (await browser.post(f"{path}/webauthn/begin", {})).status == 404
    async with browsing(app) as browser:
        assert (await browser.get(path)).status == 401
