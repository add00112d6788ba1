# SPDX-License-Identifier: Apache-2.0
import pytest
from google.protobuf import descriptor_pb2

from mezite.api.health import HealthService
from mezite.api.pb.grpc.reflection.v1 import reflection_pb2
from mezite.api.pb.grpc.reflection.v1alpha import reflection_pb2 as alpha_pb2
from mezite.api.pb.mezite.v1 import users_pb2
from mezite.api.reflection import reflection_methods
from mezite.api.server import RpcMethod, StatusCode
from tests.api.echo_service import connected, make_server

USERS = RpcMethod(
    path="/mezite.v1.UserService/ListUsers",
    request_type=users_pb2.ListUsersRequest,
    response_type=users_pb2.ListUsersResponse,
    handler=HealthService()._check,
    verb="users.list",
    resource="user",
)


async def ask(version="v1", **request):
    pb = {"v1": reflection_pb2, "v1alpha": alpha_pb2}[version]
    served = [*HealthService().methods(), USERS]
    server = make_server([*served, *reflection_methods(served)])
    path = f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo"
    async with (
        connected(server, token=None) as client,
        client.open_call(path, pb.ServerReflectionResponse) as call,
    ):
        await call.send(pb.ServerReflectionRequest(**request))
        return await call.receive()


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_services(version):
    answer = await ask(version, list_services="*", host="hub")
    assert [service.name for service in answer.list_services_response.service] == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "mezite.v1.UserService",
    ]
    assert answer.valid_host == "hub"
    assert answer.original_request.list_services == "*"


def files(answer):
    serialized = answer.file_descriptor_response.file_descriptor_proto
    return [descriptor_pb2.FileDescriptorProto.FromString(each).name for each in serialized]


@pytest.mark.parametrize(
    "symbol",
    [
        "mezite.v1.UserService",
        "mezite.v1.UserService.ListUsers",
        "mezite.v1.ListUsersRequest",
    ],
)
async def test_files_by_symbol(symbol):
    answer = await ask(file_containing_symbol=symbol)
    assert files(answer)[0] == "mezite/v1/users.proto"
    assert len(set(files(answer))) == len(files(answer))


async def test_nested_symbols():
    answer = await ask(file_containing_symbol="grpc.health.v1.HealthCheckResponse.ServingStatus")
    assert files(answer) == ["grpc/health/v1/health.proto"]


async def test_files_by_name():
    assert files(await ask(file_by_filename="grpc/health/v1/health.proto")) == ["grpc/health/v1/health.proto"]


@pytest.mark.parametrize(
    "request_fields",
    [
        {"file_by_filename": "mezite/v1/audit.proto"},
        {"file_containing_symbol": "mezite.v1.AuditService"},
        {"all_extension_numbers_of_type": "mezite.v1.ListUsersRequest"},
        {},
    ],
)
async def test_what_is_not_served_is_not_described(request_fields):
    answer = await ask(**request_fields)
    assert answer.error_response.error_code == StatusCode.NOT_FOUND
