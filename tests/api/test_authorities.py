# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AuthorityService` over a connection."""

import json

import pytest

from mezite.api.pb.mezite.v1 import authorities_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.core.rotation import MARGIN_MS
from mezite.services.authorities.keys import Purpose
from tests.api.services import calling_as
from tests.services.world import HOUR, START

BEGIN, FORCE, BACK = pb.RotateRequest.BEGIN, pb.RotateRequest.FORCE, pb.RotateRequest.ROLL_BACK
DAY = 24 * HOUR


def taken(answer):
    return {one.type: one.step or one.error for one in answer.taken}


async def rotate(call, action, *types):
    return taken(await call("AuthorityService/Rotate", pb.RotateRequest(types=types, action=action)))


async def status(call, *types):
    return await call("AuthorityService/GetRotation", pb.GetRotationRequest(types=types))


async def test_a_rotation_step_by_step(world):
    await world.agent("web-1")
    async with calling_as(world, roles=("admin",)) as call:
        assert await rotate(call, BEGIN, "host-tls") == {"host-tls": "published"}
        answer = await status(call, "host-tls")
        (found,) = answer.rotations
        assert (found.type, found.step, found.ready, found.agents) == ("host-tls", "published", False, 1)
        (waiting,) = found.agents_waiting
        assert (waiting.name, waiting.online, waiting.last_seen_ms) == ("web-1", False, START)
        assert found.not_before_ms == START + DAY
        assert found.ready_at_latest_ms == waiting.until_ms > START + DAY
        assert found.overlap_ms == DAY + MARGIN_MS
        assert "0 of 1 agent has seen the new key" in found.report[0]
        assert [key.state for key in found.keys] == ["active", "next"]
        assert [key.requested for key in found.keys] == [False, True]
        assert [f"sha256:{key.key_id}" for key in found.keys] == list(answer.host_ca_pins)
        assert answer.host_ca_pin == answer.host_ca_pins[0] == f"sha256:{world.authorities.host_pin}"
        refused = await rotate(call, BEGIN, "host-tls")
        assert "a rotation is under way" in refused["host-tls"]

        assert await rotate(call, FORCE, "host-tls") == {"host-tls": "activated"}
        (found,) = (await status(call, "host-tls")).rotations
        assert found.step == "overlap"
        assert [key.state for key in found.keys] == ["active", "retired"]
        assert (found.keys[1].retired_at_ms, found.keys[1].trusted_until_ms) == (
            START,
            START + DAY + MARGIN_MS,
        )
        assert await rotate(call, FORCE, "host-tls") == {"host-tls": "dropped"}
        (found,) = (await status(call, "host-tls")).rotations
        assert (found.step, len(found.keys)) == ("idle", 1)


async def test_all_types_together(world):
    async with calling_as(world, roles=("admin",)) as call:
        begun = await rotate(call, BEGIN)
        assert begun == {
            purpose.value: "requested" if purpose is Purpose.APP_JWT else "published" for purpose in Purpose
        }
        assert [one.type for one in (await status(call)).rotations] == [one.value for one in Purpose]
        assert await rotate(call, BACK) == dict.fromkeys(begun, "withdrawn")
        # What cannot be done for some is said of them, and done for the others.
        await rotate(call, BEGIN, "audit")
        second = await rotate(call, BEGIN, "audit", "user-ssh")
        assert "under way" in second["audit"]
        assert second["user-ssh"] == "published"
    events = await world.events("ca.rotated")
    assert {event["user_name"] for event in events} == {"root"}


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (pb.RotateRequest(types=["host-tsl"]), "no key of type host-tsl: there are user-ssh, host-ssh"),
        (pb.RotateRequest(action=FORCE), "name the types"),
        (pb.RotateRequest(action=9), "no action 9"),
    ],
)
async def test_what_is_refused(world, request_, message):
    async with calling_as(world, roles=("admin",)) as call:
        refused = await call.refused("AuthorityService/Rotate", request_)
        assert refused.status is StatusCode.INVALID_ARGUMENT
        assert message in refused.message
    assert await world.events("ca.rotated") == []


async def test_exporting(world):
    async with calling_as(world, roles=("admin",)) as call:
        request = pb.ExportKeysRequest(type="app-jwt")
        answer = await call("AuthorityService/ExportKeys", request)
        assert len(json.loads(answer.text)["keys"]) == 2
        refused = await call.refused("AuthorityService/ExportKeys", pb.ExportKeysRequest(type=""))
        assert "there is no key of type" in refused.message
