# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.TokenService` over a connection."""

from mezite.api.pb.mezite.v1 import tokens_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.core.join_token import parse_join_token
from tests.api.services import calling_as
from tests.services.world import CLIENT, HOUR, START

REQUEST = pb.CreateJoinTokenRequest(roles=["node"], ttl_seconds=3600, labels={"env": "prod"})


async def test_a_token_from_creation_to_use(world):
    async with calling_as(world) as call:
        created = await call("TokenService/CreateJoinToken", REQUEST)
        token = parse_join_token(created.token)
        record = created.record
        assert record.id == token.secret_hash()[:16]
        assert (list(record.roles), dict(record.labels), record.created_by) == (
            ["node"],
            {"env": "prod"},
            "root",
        )
        assert (record.created_at_ms, record.expires_at_ms) == (START, START + HOUR)
        assert (record.used_at_ms, record.used_by) == (0, "")
        listed = await call("TokenService/ListJoinTokens")
        assert list(listed.tokens) == [record]
        assert token.secret not in str(listed)
        enrolled = await world.enrollment.join(world.join_request(token.secret), client_address=CLIENT)
        (used,) = (await call("TokenService/ListJoinTokens")).tokens
        assert (used.used_at_ms, used.used_by) == (START, enrolled.agent.agent_id)


async def test_deleting(world):
    async with calling_as(world) as call:
        record = (await call("TokenService/CreateJoinToken", REQUEST)).record
        request = pb.DeleteJoinTokenRequest(id=record.id)
        await call("TokenService/DeleteJoinToken", request)
        assert (await call.refused("TokenService/DeleteJoinToken", request)).status is StatusCode.NOT_FOUND
        assert list((await call("TokenService/ListJoinTokens")).tokens) == []


async def test_what_is_refused(world):
    async with calling_as(world) as call:
        for request in (
            pb.CreateJoinTokenRequest(),
            pb.CreateJoinTokenRequest(roles=["admin"], ttl_seconds=60),
            pb.CreateJoinTokenRequest(roles=["node"]),
            pb.CreateJoinTokenRequest(roles=["node"], ttl_seconds=2**62),
        ):
            error = await call.refused("TokenService/CreateJoinToken", request)
            assert error.status is StatusCode.INVALID_ARGUMENT
