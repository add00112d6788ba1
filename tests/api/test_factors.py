# SPDX-License-Identifier: Apache-2.0
"""Second factors over gRPC, as msh and mezctl use them."""

import base64

from mezite.api.pb.mezite.v1 import auth_pb2, factors_pb2, users_pb2
from mezite.api.rpc import StatusCode
from tests.api.services import calling, calling_as
from tests.services.login.second_factors import Telephone
from tests.services.world import PASSWORD

WITH_PASSWORD = factors_pb2.Proof(password=PASSWORD)
LOGIN = {"username": "alice", "password": PASSWORD}


async def enrol(world, call):
    begun = await call("FactorService/BeginTotp", factors_pb2.BeginTotpRequest(proof=WITH_PASSWORD))
    assert begun.uri.startswith("otpauth://totp/test:alice?")
    phone = Telephone(world, base64.b32decode(begun.secret))
    enrolled = await call(
        "FactorService/FinishTotp",
        factors_pb2.FinishTotpRequest(challenge_id=begun.challenge_id, code=phone.code(), name="telephone"),
    )
    phone.factor_id, phone.recovery_codes = enrolled.factor.id, tuple(enrolled.recovery_codes)
    return phone


async def test_a_users_own(world):
    async with calling_as(world, "alice", ("access",)) as call:
        needed = await call.refused("FactorService/BeginTotp")
        assert (needed.status, needed.details) == (
            StatusCode.PERMISSION_DENIED,
            {"code": "proof_required", "proofs": "password"},
        )
        phone = await enrol(world, call)
        assert len(phone.recovery_codes) == 10
        listed = await call("FactorService/ListFactors")
        (factor,) = listed.factors
        assert (factor.id, factor.kind, factor.name) == (phone.factor_id, "totp", "telephone")
        assert (factor.last_used_at_ms, listed.recovery_codes_left) == (0, 10)
        assert listed.web_url == "https://hub.example.com"
        assert len((await call("FactorService/CreateRecoveryCodes")).codes) == 10
        missing = await call.refused(
            "FactorService/RemoveFactor", factors_pb2.RemoveFactorRequest(id="nothing")
        )
        assert missing.status is StatusCode.NOT_FOUND
        proof = factors_pb2.Proof(totp=phone.fresh_code())
        await call(
            "FactorService/RemoveFactor", factors_pb2.RemoveFactorRequest(id=phone.factor_id, proof=proof)
        )
        assert not (await call("FactorService/ListFactors")).factors


async def test_logging_in_enforces_them(world):
    """Threat E8: no side door."""
    async with calling_as(world, "alice", ("access",)) as call:
        phone = await enrol(world, call)
    async with calling(world) as call:
        request = auth_pb2.AuthenticateLocalRequest
        needed = await call.refused("AuthService/AuthenticateLocal", request(**LOGIN))
        assert (needed.status, needed.details) == (
            StatusCode.UNAUTHENTICATED,
            {"code": "mfa_required", "factors": "totp"},
        )
        wrong = await call.refused("AuthService/AuthenticateLocal", request(**LOGIN, totp="000000"))
        assert (wrong.status, wrong.details) == (StatusCode.UNAUTHENTICATED, {})
        for code in ({"totp": phone.fresh_code()}, {"recovery_code": phone.recovery_codes[0]}):
            answer = await call("AuthService/AuthenticateLocal", request(**LOGIN, **code))
            assert answer.user_name == "alice"


async def test_administrators_see_and_reset(world):
    async with calling_as(world, "alice", ("access",)) as call:
        await enrol(world, call)
        denied = await call.refused("FactorService/ListUserFactors")
        assert denied.status is StatusCode.PERMISSION_DENIED
    async with calling_as(world) as call:
        counts = (await call("UserService/GetUser", users_pb2.GetUserRequest(name="alice"))).factors
        assert (counts.totp, counts.webauthn, counts.recovery_codes) == (1, 0, 10)
        by_name = {user.name: user.factors.totp for user in (await call("UserService/ListUsers")).users}
        assert by_name == {"alice": 1, "root": 0}
        updated = await call("UserService/UpdateUser", users_pb2.UpdateUserRequest(name="alice"))
        assert updated.factors.totp == 1
        of_alice = factors_pb2.ListUserFactorsRequest(user_name="alice")
        listed = await call("FactorService/ListUserFactors", of_alice)
        assert ([each.kind for each in listed.factors], listed.recovery_codes_left) == (["totp"], 10)
        reset = factors_pb2.ResetUserFactorsRequest
        odd = await call.refused("FactorService/ResetUserFactors", reset(user_name="alice", kind="sms"))
        assert odd.status is StatusCode.INVALID_ARGUMENT
        answer = await call("FactorService/ResetUserFactors", reset(user_name="alice", kind="totp"))
        assert answer.removed == 1
        assert (await call("FactorService/ListUserFactors", of_alice)).recovery_codes_left == 0
