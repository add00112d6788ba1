# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.RoleService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.access.role_trial import AccessPair, RefusedAccess, RoleTrial
from mezite.services.access.roles import KnownRole, RoleCatalog
from mezite.services.errors import InvalidRequestError

__all__ = ["RolesApi"]

_SERVICE = "/mezite.v1.RoleService/"

MAX_REPLAY_DAYS = 366
"""A year of accesses, so that what happens once a year is among them."""


class RolesApi:
    """The RPCs of one service."""

    def __init__(self, catalog: RoleCatalog, trial: RoleTrial) -> None:
        self._catalog = catalog
        self._trial = trial

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        put = unary(_SERVICE + "PutRole", pb.PutRoleRequest, pb.PutRoleResponse)
        listing = unary(_SERVICE + "ListRoles", pb.ListRolesRequest, pb.ListRolesResponse)
        get = unary(_SERVICE + "GetRole", pb.GetRoleRequest, pb.Role)
        delete = unary(_SERVICE + "DeleteRole", pb.DeleteRoleRequest, pb.DeleteRoleResponse)
        return [
            put(self.put, "roles.put", "role"),
            listing(self.list_roles, "roles.list", "role"),
            get(self.get, "roles.get", "role"),
            delete(self.delete, "roles.delete", "role"),
        ]

    async def put(self, request: pb.PutRoleRequest, context: CallContext) -> pb.PutRoleResponse:
        """Create or replace a role, or only say what that would change."""
        if request.dry_run:
            return await self._try_out(request)
        if request.replay_days:
            raise InvalidRequestError("replay_days goes with dry_run: what is stored is not tried out")
        role, created = await self._catalog.put(
            request.document, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.PutRoleResponse(role=_message(role), created=created)

    async def _try_out(self, request: pb.PutRoleRequest) -> pb.PutRoleResponse:
        if request.replay_days not in range(MAX_REPLAY_DAYS + 1):
            raise InvalidRequestError(f"replay_days is {request.replay_days}: give 1 to {MAX_REPLAY_DAYS}")
        role, created, difference, replay = await self._trial.try_out(
            request.document, replay_days=request.replay_days
        )
        return pb.PutRoleResponse(
            role=_message(role),
            created=created,
            gained=[_pair(pair) for pair in difference.gained],
            lost=[_pair(pair) for pair in difference.lost],
            gained_count=difference.gained_count,
            lost_count=difference.lost_count,
            replayed_count=replay.accesses,
            refused=[_refused(each) for each in replay.refused],
            replayed_since_ms=replay.reaches_back_to,
        )

    async def list_roles(self, _request: pb.ListRolesRequest, _context: CallContext) -> pb.ListRolesResponse:
        """All roles, built-in ones first."""
        return pb.ListRolesResponse(roles=[_message(role) for role in await self._catalog.list_roles()])

    async def get(self, request: pb.GetRoleRequest, _context: CallContext) -> pb.Role:
        """One role."""
        return _message(await self._catalog.get(request.name))

    async def delete(self, request: pb.DeleteRoleRequest, context: CallContext) -> pb.DeleteRoleResponse:
        """Delete a role that nobody has."""
        await self._catalog.delete(
            request.name, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.DeleteRoleResponse()


def _message(known: KnownRole) -> pb.Role:
    return pb.Role(
        name=known.role.name,
        document=known.document,
        built_in=known.built_in,
        created_at_ms=known.created_at,
        updated_at_ms=known.updated_at,
    )


def _pair(pair: AccessPair) -> pb.AccessPair:
    return pb.AccessPair(user=pair.user, node=pair.node, login=pair.login)


def _refused(each: RefusedAccess) -> pb.RefusedAccess:
    pair = each.pair
    return pb.RefusedAccess(
        user=pair.user, node=pair.node, login=pair.login, count=each.count, last_at_ms=each.last_at
    )
