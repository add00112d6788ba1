# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.UserService` over a connection."""

from mezite.api.pb.mezite.v1 import users_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling_as
from tests.services.world import PASSWORD, START

TRAITS = {"logins": pb.TraitValues(values=["ubuntu", "deploy"])}


async def test_a_user_from_creation_to_deletion(world):
    async with calling_as(world) as call:
        request = pb.CreateUserRequest(name="alice", roles=["access"], traits=TRAITS, password=PASSWORD)
        created = await call("UserService/CreateUser", request)
        assert (created.invite_url, created.invite_expires_at_ms) == ("", 0)
        user = await call("UserService/GetUser", pb.GetUserRequest(name="alice"))
        assert user == created.user
        assert (user.name, list(user.roles), user.has_password, user.disabled) == (
            "alice",
            ["access"],
            True,
            False,
        )
        assert list(user.traits["logins"].values) == ["ubuntu", "deploy"]
        assert user.created_at_ms == user.updated_at_ms == START
        listed = await call("UserService/ListUsers")
        assert [each.name for each in listed.users] == ["alice", "root"]
        await call("UserService/DeleteUser", pb.DeleteUserRequest(name="alice"))
        error = await call.refused("UserService/GetUser", pb.GetUserRequest(name="alice"))
        assert error.status is StatusCode.NOT_FOUND
    assert [event["user_name"] for event in await world.events("user.deleted")] == ["root"]


async def test_an_invite(world):
    async with calling_as(world) as call:
        created = await call("UserService/CreateUser", pb.CreateUserRequest(name="alice"))
    assert created.invite_url.startswith("https://hub.example.com/invite#")
    assert not created.user.has_password
    token = created.invite_url.partition("#")[2]
    assert await world.login.accept_invite(token, PASSWORD, client_address="") == "alice"


async def test_an_update_changes_what_is_set(world):
    """An empty list in the request is "no roles" only together with `set_roles`."""
    async with calling_as(world) as call:
        request = pb.CreateUserRequest(name="alice", roles=["access"], traits=TRAITS, password=PASSWORD)
        await call("UserService/CreateUser", request)
        user = await call("UserService/UpdateUser", pb.UpdateUserRequest(name="alice", roles=["admin"]))
        assert (list(user.roles), list(user.traits)) == (["access"], ["logins"])
        user = await call("UserService/UpdateUser", pb.UpdateUserRequest(name="alice", set_roles=True))
        assert (list(user.roles), list(user.traits)) == ([], ["logins"])
        user = await call("UserService/UpdateUser", pb.UpdateUserRequest(name="alice", set_traits=True))
        assert list(user.traits) == []
        new = pb.UpdateUserRequest(name="alice", password="a whole new password")
        await call("UserService/UpdateUser", new)
    await world.login.with_password("alice", "a whole new password", client_address="")


async def test_what_is_refused(world):
    async with calling_as(world) as call:
        await call("UserService/CreateUser", pb.CreateUserRequest(name="alice"))
        for name, request, status in (
            ("CreateUser", pb.CreateUserRequest(name="alice"), StatusCode.ALREADY_EXISTS),
            ("CreateUser", pb.CreateUserRequest(name="b", roles=["boss"]), StatusCode.INVALID_ARGUMENT),
            ("UpdateUser", pb.UpdateUserRequest(name="nobody"), StatusCode.NOT_FOUND),
            ("DeleteUser", pb.DeleteUserRequest(name="nobody"), StatusCode.NOT_FOUND),
            ("DeleteUser", pb.DeleteUserRequest(name="root"), StatusCode.INVALID_ARGUMENT),
        ):
            assert (await call.refused(f"UserService/{name}", request)).status is status, name
