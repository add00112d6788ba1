# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.UserService`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mezite.api.pb.mezite.v1 import users_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.core.secret import Secret
from mezite.services.factors.administration import FactorAdministration, FactorCounts
from mezite.services.users.accounts import Accounts
from mezite.storage.users import UserRow

__all__ = ["UsersApi", "trait_values", "user_message"]

_SERVICE = "/mezite.v1.UserService/"


class UsersApi:
    """The RPCs of one service."""

    def __init__(
        self, accounts: Accounts, *, factors: FactorAdministration, invite_url: Callable[[Secret], str]
    ) -> None:
        self._accounts = accounts
        self._factors = factors
        self._invite_url = invite_url

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        create = unary(_SERVICE + "CreateUser", pb.CreateUserRequest, pb.CreateUserResponse)
        listing = unary(_SERVICE + "ListUsers", pb.ListUsersRequest, pb.ListUsersResponse)
        get = unary(_SERVICE + "GetUser", pb.GetUserRequest, pb.User)
        update = unary(_SERVICE + "UpdateUser", pb.UpdateUserRequest, pb.User)
        delete = unary(_SERVICE + "DeleteUser", pb.DeleteUserRequest, pb.DeleteUserResponse)
        return [
            create(self.create, "users.create", "user"),
            listing(self.list_users, "users.list", "user"),
            get(self.get, "users.get", "user"),
            update(self.update, "users.update", "user"),
            delete(self.delete, "users.delete", "user"),
        ]

    async def create(self, request: pb.CreateUserRequest, context: CallContext) -> pb.CreateUserResponse:
        """A user with a password, or with an invite."""
        created = await self._accounts.create(
            request.name,
            roles=tuple(request.roles),
            traits=trait_values(request.traits),
            password=request.password,
            by=user_of(context).name,
            client_address=context.peer.client_address,
        )
        url = "" if created.invite_token is None else self._invite_url(created.invite_token)
        return pb.CreateUserResponse(
            user=user_message(created.user), invite_url=url, invite_expires_at_ms=created.invite_expires_at
        )

    async def list_users(self, _request: pb.ListUsersRequest, _context: CallContext) -> pb.ListUsersResponse:
        """All users by name."""
        counts = await self._factors.counts()
        rows = await self._accounts.list_users()
        return pb.ListUsersResponse(users=[user_message(row, counts.get(row.name)) for row in rows])

    async def get(self, request: pb.GetUserRequest, _context: CallContext) -> pb.User:
        """One user."""
        return await self._with_factors(await self._accounts.get(request.name))

    async def update(self, request: pb.UpdateUserRequest, context: CallContext) -> pb.User:
        """Replace roles, traits or the password."""
        row = await self._accounts.update(
            request.name,
            roles=tuple(request.roles) if request.set_roles else None,
            traits=trait_values(request.traits) if request.set_traits else None,
            password=request.password,
            by=user_of(context).name,
            client_address=context.peer.client_address,
        )
        return await self._with_factors(row)

    async def delete(self, request: pb.DeleteUserRequest, context: CallContext) -> pb.DeleteUserResponse:
        """Delete a user."""
        await self._accounts.delete(
            request.name, by=user_of(context), client_address=context.peer.client_address
        )
        return pb.DeleteUserResponse()

    async def _with_factors(self, row: UserRow) -> pb.User:
        return user_message(row, (await self._factors.counts()).get(row.name))


def trait_values(messages: Mapping[str, pb.TraitValues]) -> dict[str, tuple[str, ...]]:
    """Return traits as services take them."""
    return {name: tuple(values.values) for name, values in messages.items()}


def user_message(row: UserRow, counts: FactorCounts | None = None) -> pb.User:
    """Return a user as a message; without `counts` as one who has no second factor."""
    has = counts or FactorCounts()
    return pb.User(
        name=row.name,
        roles=row.roles,
        traits={name: pb.TraitValues(values=values) for name, values in row.traits.items()},
        created_at_ms=row.created_at,
        updated_at_ms=row.updated_at,
        has_password=row.password_hash is not None,
        disabled=row.disabled_at is not None,
        origin=row.origin or "",
        factors=pb.FactorCounts(totp=has.totp, webauthn=has.webauthn, recovery_codes=has.recovery_codes),
    )
