# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.LockService` over a connection."""

from mezite.api.pb.mezite.v1 import locks_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling_as
from tests.services.world import HOUR, START

REQUEST = pb.CreateLockRequest(target="user", name="alice", message="lost laptop", ttl_seconds=3600)


async def test_a_lock_from_making_to_lifting(world):
    async with calling_as(world) as call:
        made = await call("LockService/CreateLock", REQUEST)
        assert (made.target, made.name, made.message, made.created_by) == (
            "user",
            "alice",
            "lost laptop",
            "root",
        )
        assert (made.created_at_ms, made.expires_at_ms) == (START, START + HOUR)
        assert made.warning.startswith("there is no user alice")
        made.ClearField("warning")
        assert list((await call("LockService/ListLocks")).locks) == [made]
        request = pb.DeleteLockRequest(id=made.id)
        await call("LockService/DeleteLock", request)
        assert (await call.refused("LockService/DeleteLock", request)).status is StatusCode.NOT_FOUND
        assert list((await call("LockService/ListLocks")).locks) == []


async def test_without_an_end(world):
    async with calling_as(world) as call:
        made = await call(
            "LockService/CreateLock", pb.CreateLockRequest(target="login", name="root", message="why")
        )
        assert made.expires_at_ms == 0


async def test_what_is_refused(world):
    async with calling_as(world) as call:
        for request, words in (
            (pb.CreateLockRequest(name="alice", message="why"), "a lock is on one of user, role, node"),
            (pb.CreateLockRequest(target="User", name="alice", message="why"), "not on 'User'"),
            (pb.CreateLockRequest(target="user", name="alice"), "the message is one line"),
            (pb.CreateLockRequest(target="role", name="admin", message="why"), "lock you out yourself"),
        ):
            error = await call.refused("LockService/CreateLock", request)
            assert error.status is StatusCode.INVALID_ARGUMENT
            assert words in error.message
