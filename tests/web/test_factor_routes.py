# SPDX-License-Identifier: Apache-2.0
"""Second factors over HTTP, as the pages use them."""

import base64

import pytest

from mezite.services.factors.fresh_proof import FRESH_MS
from mezite.testing.software_key import SoftwareKey
from tests.services.login.second_factors import Telephone, add_key, add_totp, log_in
from tests.services.world import PASSWORD, START, WEB_URL
from tests.web.browser import API, browsing, document, make_app

LOGIN = {"username": "alice", "password": PASSWORD}
ORIGIN = ("origin", "https://hub.example.com")


@pytest.fixture
async def app(world):
    return make_app(world)[0]


def error(answer):
    return document(answer)["error"]


async def test_enrol_log_in_and_remove(world, app):
    await world.user("alice")
    async with browsing(app, await world.token("alice")) as browser:
        needed = await browser.post("mfa/totp/begin", {})
        assert (needed.status, error(needed)["code"], error(needed)["proofs"]) == (
            403,
            "proof_required",
            ["password"],
        )
        begun = document(await browser.post("mfa/totp/begin", {"proof": {"password": PASSWORD}}))
        assert set(begun) == {"challenge_id", "secret", "uri"}
        phone = Telephone(world, base64.b32decode(begun["secret"]))
        finished = {"challenge_id": begun["challenge_id"], "code": phone.code(), "name": "old telephone"}
        enrolled = document(await browser.post("mfa/totp/finish", finished))
        assert len(enrolled["recovery_codes"]) == 10
        factor = enrolled["factor"]
        assert factor == {
            "id": factor["id"],
            "kind": "totp",
            "name": "old telephone",
            "created_at_ms": START,
            "last_used_at_ms": None,
        }
        listed = document(await browser.get("mfa/factors"))
        assert listed == {"factors": [factor], "recovery_codes_left": 10}
        assert document(await browser.get("me"))["factors_count"] == 1
        codes = document(await browser.post("mfa/recovery-codes", {}))["codes"]
        assert len(codes) == 10
        assert not set(codes) & set(enrolled["recovery_codes"])
    async with browsing(app) as browser:
        needed = await browser.post("login", LOGIN)
        assert needed.status == 401
        assert (error(needed)["code"], error(needed)["factors"]) == ("mfa_required", ["totp"])
        assert error(needed)["event_id"]
        for wrong in ({"totp": "000000"}, {"recovery_code": enrolled["recovery_codes"][0]}):
            refused = await browser.post("login", LOGIN | wrong)
            assert refused.status == 401
            assert set(error(refused)) == {"message", "event_id"}
        in_cookie = await browser.post("login", LOGIN | {"recovery_code": codes[0], "cookie": True}, ORIGIN)
        assert "session" not in document(in_cookie)
        assert document(in_cookie)["csrf_token"]
        browser.token = document(await browser.post("login", LOGIN | {"totp": phone.fresh_code()}))["session"]
        removed = await browser.send("DELETE", f"{API}mfa/factors/{factor['id']}", {})
        assert document(removed) == {"removed": True}
        assert document(await browser.get("me"))["factors_count"] == 0


async def test_with_a_security_key(world, app):
    await world.user("alice")
    key = SoftwareKey(origin=WEB_URL)
    async with browsing(app, await world.token("alice")) as browser:
        asked = document(await browser.post("mfa/webauthn/register/begin", {"proof": {"password": PASSWORD}}))
        finished = {
            "challenge_id": asked["challenge_id"],
            "credential": key.create(asked["options"]),
            "name": "blue key",
        }
        enrolled = document(await browser.post("mfa/webauthn/register/finish", finished))
        assert (enrolled["factor"]["kind"], enrolled["factor"]["name"]) == ("webauthn", "blue key")
        assert len(enrolled["recovery_codes"]) == 10
    async with browsing(app) as browser:
        assert error(await browser.post("login", LOGIN))["factors"] == ["webauthn"]
        asked = document(await browser.post("mfa/webauthn/login/begin", LOGIN))
        answer = {"challenge_id": asked["challenge_id"], "credential": key.get(asked["options"])}
        started = document(await browser.post("mfa/webauthn/login/finish", answer))
        assert (started["user"], started["roles"]) == ("alice", ["access"])
        assert (await browser.post("mfa/webauthn/login/finish", answer)).status == 401
        browser.token = started["session"]
        world.clock.now += FRESH_MS
        needed = await browser.post("mfa/recovery-codes", {})
        assert error(needed)["proofs"] == ["webauthn", "recovery_code"]
        asked = document(await browser.post("mfa/webauthn/proof/begin", {}))
        proof = {"challenge_id": asked["challenge_id"], "credential": key.get(asked["options"])}
        answer = await browser.post("mfa/recovery-codes", {"proof": {"webauthn": proof}})
        assert len(document(answer)["codes"]) == 10


async def test_a_key_login_into_the_cookie(world, app):
    key = await add_key(world, await world.user("alice"))
    async with browsing(app) as browser:
        asked = document(await browser.post("mfa/webauthn/login/begin", LOGIN))
        answer = {"challenge_id": asked["challenge_id"], "credential": key.get(asked["options"])}
        foreign = await browser.post(
            "mfa/webauthn/login/finish", {**answer, "cookie": True}, ("origin", "https://evil.example")
        )
        assert foreign.status == 403
        started = await browser.post("mfa/webauthn/login/finish", {**answer, "cookie": True}, ORIGIN)
        assert "session" not in document(started)
        assert started.header(b"set-cookie").startswith(b"mezite_session=")


@pytest.mark.parametrize(
    "proof",
    [
        {"totp": 123456},
        {"totp": "000000", "password": PASSWORD},
        {"fingerprint": "x"},
        {"webauthn": "x"},
        {"webauthn": {"challenge_id": "x"}},
        {"webauthn": {"challenge_id": "x", "credential": []}},
        {"webauthn": {"challenge_id": "x", "credential": {}, "more": 1}},
    ],
)
async def test_a_proof_that_cannot_be_read(world, app, proof):
    await world.user("alice")
    async with browsing(app, await world.token("alice")) as browser:
        answer = await browser.post("mfa/totp/begin", {"proof": proof})
    assert answer.status == 400


async def test_wrong_proofs(world, app):
    phone = await add_totp(world, await world.user("alice"))
    token = (await log_in(world, totp=phone.fresh_code())).token.reveal()
    world.clock.now += FRESH_MS
    async with browsing(app, token) as browser:
        for proof in ({"totp": "000000"}, {"recovery_code": "aaaa-aaaa-aaaa-aaaa"}):
            answer = await browser.post("mfa/recovery-codes", {"proof": proof})
            assert answer.status == 401
            assert error(answer)["event_id"]


async def test_wrong_passwords_at_the_first_step(world, app):
    await add_key(world, await world.user("alice"))
    async with browsing(app) as browser:
        for name in ("alice", "nobody"):
            answer = await browser.post(
                "mfa/webauthn/login/begin", {"username": name, "password": "wrong password"}
            )
            assert answer.status == 401
            assert error(answer)["message"].startswith("wrong user name or password")


async def test_a_new_password(world, app):
    """With the factor of who has one, and over this door as over the others (threat E8)."""
    phone = await add_totp(world, await world.user("alice"))
    started = await log_in(world, totp=phone.fresh_code())
    world.clock.now += FRESH_MS
    wanted = {"old_password": PASSWORD, "new_password": "another horse battery"}
    async with browsing(app, started.token.reveal()) as browser:
        needed = await browser.post("password", wanted)
        assert (needed.status, error(needed)["proofs"]) == (403, ["totp", "recovery_code"])
        proof = {"proof": {"totp": phone.fresh_code()}}
        wrong = await browser.post("password", {**wanted, **proof, "old_password": "wrong horse battery"})
        assert (wrong.status, error(wrong)["message"].partition(" (")[0]) == (
            401,
            "wrong user name or password",
        )
        assert document(await browser.post("password", wanted)) == {"changed": True}
    await log_in(world, password="another horse battery", totp=phone.fresh_code())
