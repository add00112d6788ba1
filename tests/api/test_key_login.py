# SPDX-License-Identifier: Apache-2.0
"""Logging in over gRPC with a security key, as a program that drives one does."""

import json

import pytest

from mezite.api.pb.mezite.v1 import auth_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling
from tests.services.login.second_factors import add_key, add_totp
from tests.services.world import PASSWORD

BEGIN, FINISH = "AuthService/BeginWebAuthnLogin", "AuthService/FinishWebAuthnLogin"


def password(name="alice", secret=PASSWORD):
    return pb.BeginWebAuthnLoginRequest(username=name, password=secret)


def answer(asked, credential):
    return pb.FinishWebAuthnLoginRequest(
        challenge_id=asked.challenge_id, credential_json=json.dumps(credential)
    )


async def test_in_two_steps(world):
    key = await add_key(world, await world.user("alice"))
    async with calling(world) as call:
        asked = await call(BEGIN, password())
        credential = key.get(json.loads(asked.options_json))
        started = await call(FINISH, answer(asked, credential))
        assert (started.user_name, list(started.roles)) == ("alice", ["access"])
        again = await call.refused(FINISH, answer(asked, credential))
        assert again.status is StatusCode.UNAUTHENTICATED
    assert (await world.authenticator.by_session(started.session_token)).name == "alice"


async def test_what_is_refused(world):
    await add_key(world, await world.user("alice"))
    await add_totp(world, await world.user("bob"))
    await world.user("carol")
    async with calling(world) as call:
        for name in ("alice", "nobody"):
            wrong = await call.refused(BEGIN, password(name, "wrong password"))
            assert wrong.status is StatusCode.UNAUTHENTICATED
        other = await call.refused(BEGIN, password("bob"))
        assert other.details == {"code": "mfa_required", "factors": "totp"}
        without = await call.refused(BEGIN, password("carol"))
        assert without.status is StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("text", ["", "[]", "7", "{", "[" * 30_000, '"x"'])
async def test_what_is_no_credential(world, text):
    async with calling(world) as call:
        refused = await call.refused(FINISH, pb.FinishWebAuthnLoginRequest(credential_json=text))
    assert refused.status is StatusCode.INVALID_ARGUMENT
