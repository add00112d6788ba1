# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AccessService` over a connection."""

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling_as

EXPLAIN = "AccessService/ExplainAccess"


async def test_an_explanation(world):
    await world.agent("web-1", env="prod")
    await world.user("alice", ("access",), ("ubuntu",))
    async with calling_as(world) as call:
        answer = await call(EXPLAIN, pb.ExplainAccessRequest(user="alice", node="web-1", login="ubuntu"))
        assert (answer.allowed, answer.role, answer.rule) == (True, "access", "allow.logins")
        assert list(answer.logins["{{internal.logins}}"].logins) == ["ubuntu"]
        assert answer.would_flip == "take role access from the user"
        assert answer.decision_id
        error = await call.refused(EXPLAIN, pb.ExplainAccessRequest(user="bob", node="web-1", login="x"))
        assert error.status is StatusCode.NOT_FOUND


async def test_only_administrators_may_ask(world):
    async with calling_as(world, roles=("access",)) as call:
        error = await call.refused(EXPLAIN, pb.ExplainAccessRequest(user="root", node="n", login="x"))
    assert error.status is StatusCode.PERMISSION_DENIED
