# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.LockService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import locks_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.core.rbac.locks import LockTarget
from mezite.services.errors import InvalidRequestError
from mezite.services.locks.locks import KnownLock, Locks

__all__ = ["LocksApi"]

_SERVICE = "/mezite.v1.LockService/"


class LocksApi:
    """The RPCs of one service."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        create = unary(_SERVICE + "CreateLock", pb.CreateLockRequest, pb.Lock)
        listing = unary(_SERVICE + "ListLocks", pb.ListLocksRequest, pb.ListLocksResponse)
        delete = unary(_SERVICE + "DeleteLock", pb.DeleteLockRequest, pb.DeleteLockResponse)
        return [
            create(self.create, "locks.create", "lock"),
            listing(self.list_locks, "locks.list", "lock"),
            delete(self.delete, "locks.delete", "lock"),
        ]

    async def create(self, request: pb.CreateLockRequest, context: CallContext) -> pb.Lock:
        """A lock that is in force on this hub when this returns."""
        try:
            target = LockTarget(request.target)
        except ValueError:
            kinds = ", ".join(LockTarget)
            raise InvalidRequestError(
                f"a lock is on one of {kinds}, not on {request.target[:64]!r}"
            ) from None
        made = await self._locks.create(
            target,
            request.name,
            message=request.message,
            ttl_seconds=request.ttl_seconds,
            by=user_of(context),
            client_address=context.peer.client_address,
        )
        return _message(made)

    async def list_locks(self, _request: pb.ListLocksRequest, _context: CallContext) -> pb.ListLocksResponse:
        """Locks in force, the oldest first."""
        return pb.ListLocksResponse(locks=[_message(lock) for lock in await self._locks.list_locks()])

    async def delete(self, request: pb.DeleteLockRequest, context: CallContext) -> pb.DeleteLockResponse:
        """Lift a lock."""
        await self._locks.delete(request.id, by=user_of(context), client_address=context.peer.client_address)
        return pb.DeleteLockResponse()


def _message(lock: KnownLock) -> pb.Lock:
    row, effect = lock.row, lock.effect
    return pb.Lock(
        id=row.id,
        target=row.target.value,
        name=row.name,
        message=row.message,
        created_by=row.created_by,
        created_at_ms=row.created_at,
        expires_at_ms=row.expires_at or 0,
        sessions_cut=effect.sessions,
        connections_cut=effect.connections,
        slowest_ms=effect.slowest_ms,
        warning=lock.warning,
    )
