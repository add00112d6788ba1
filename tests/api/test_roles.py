# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.RoleService` over a connection."""

import json

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling_as
from tests.services.access.test_roles import document
from tests.services.world import START


async def test_a_role_from_creation_to_deletion(world):
    async with calling_as(world) as call:
        created = await call("RoleService/PutRole", pb.PutRoleRequest(document=document()))
        assert (created.created, created.role.name, created.role.built_in) == (True, "dev", False)
        assert created.role.created_at_ms == created.role.updated_at_ms == START
        role = await call("RoleService/GetRole", pb.GetRoleRequest(name="dev"))
        assert role == created.role
        assert json.loads(role.document)["spec"]["allow"]["logins"] == ["ubuntu"]
        again = await call("RoleService/PutRole", pb.PutRoleRequest(document=role.document))
        assert not again.created
        listed = await call("RoleService/ListRoles")
        assert [(each.name, each.built_in) for each in listed.roles] == [
            ("access", True),
            ("admin", True),
            ("auditor", True),
            ("node", True),
            ("dev", False),
        ]
        await call("RoleService/DeleteRole", pb.DeleteRoleRequest(name="dev"))
        error = await call.refused("RoleService/GetRole", pb.GetRoleRequest(name="dev"))
        assert error.status is StatusCode.NOT_FOUND
    assert [event["user_name"] for event in await world.events("role.deleted")] == ["root"]


async def test_a_dry_run(world):
    await world.agent("web-1")
    async with calling_as(world) as call:
        await call("RoleService/PutRole", pb.PutRoleRequest(document=document()))
        await world.accounts.create("alice", roles=("dev",), traits={}, by="root")
        request = pb.PutRoleRequest(document=document(logins=["deploy"]), dry_run=True)
        answer = await call("RoleService/PutRole", request)
        assert list(answer.gained) == [pb.AccessPair(user="alice", node="web-1", login="deploy")]
        assert list(answer.lost) == [pb.AccessPair(user="alice", node="web-1", login="ubuntu")]
        assert (answer.created, answer.gained_count, answer.lost_count) == (False, 1, 1)
        role = await call("RoleService/GetRole", pb.GetRoleRequest(name="dev"))
        assert json.loads(role.document)["spec"]["allow"]["logins"] == ["ubuntu"]


async def test_what_is_refused(world):
    async with calling_as(world) as call:
        await call("RoleService/PutRole", pb.PutRoleRequest(document=document()))
        await world.accounts.create("alice", roles=("dev",), traits={}, by="root")
        for name, request, status in (
            ("PutRole", pb.PutRoleRequest(document="{}"), StatusCode.INVALID_ARGUMENT),
            ("PutRole", pb.PutRoleRequest(document="{}", dry_run=True), StatusCode.INVALID_ARGUMENT),
            ("PutRole", pb.PutRoleRequest(document=document(), replay_days=1), StatusCode.INVALID_ARGUMENT),
            (
                "PutRole",
                pb.PutRoleRequest(document=document(), dry_run=True, replay_days=367),
                StatusCode.INVALID_ARGUMENT,
            ),
            ("PutRole", pb.PutRoleRequest(document=document("admin")), StatusCode.ALREADY_EXISTS),
            ("DeleteRole", pb.DeleteRoleRequest(name="dev"), StatusCode.ALREADY_EXISTS),
            ("DeleteRole", pb.DeleteRoleRequest(name="admin"), StatusCode.ALREADY_EXISTS),
            ("DeleteRole", pb.DeleteRoleRequest(name="boss"), StatusCode.NOT_FOUND),
        ):
            assert (await call.refused(f"RoleService/{name}", request)).status is status, name
