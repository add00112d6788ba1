# SPDX-License-Identifier: Apache-2.0
"""A service of every kind of method, on the messages that protobuf brings along."""

import contextlib

import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from trio.testing import memory_stream_pair

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.server import CallKind, GrpcServer, PeerInfo, RpcError, RpcMethod, StatusCode

SERVICE = "/test.Echo/"
PEER = PeerInfo(client_address="192.0.2.1:4000")


async def upper(request, context):
    context.response_metadata.append(("who", str(context.identity)))
    context.trailing_metadata.append(("spent-bin", b"\x00\xff"))
    return StringValue(value=request.value.upper())


async def count(request, _context, responses):
    for number in range(request.value):
        await responses.send(Int64Value(value=number))


async def total(requests, _context):
    size = 0
    async for request in requests:
        size += len(request.value)
    return Int64Value(value=size)


async def chat(requests, _context, responses):
    async for request in requests:
        await responses.send(StringValue(value=f"<{request.value}>"))


async def fail(request, _context):
    raise RpcError(
        StatusCode.FAILED_PRECONDITION, f"kein nœud: {request.value} 100%", {"node": "ü", "hint": "ask"}
    )


async def crash(_request, _context):
    raise KeyError("the secret of the hub")


async def hang(_request, _context):
    await trio.sleep_forever()


def method(name, handler, request_type=StringValue, response_type=StringValue, **more):
    fields = {"verb": "echo", "resource": "test"} | more
    return RpcMethod(
        path=SERVICE + name, request_type=request_type, response_type=response_type, handler=handler, **fields
    )


METHODS = [
    method("Upper", upper),
    method("Count", count, Int64Value, Int64Value, kind=CallKind.SERVER_STREAM),
    method("Total", total, BytesValue, Int64Value, kind=CallKind.CLIENT_STREAM),
    method("Chat", chat, kind=CallKind.BIDI),
    method("Fail", fail),
    method("Crash", crash),
    method("Hang", hang),
    method("Public", upper, public=True),
]


async def authenticate(context):
    return context.bearer_token


async def authorize(identity, rpc_method, _context):
    if identity == "nobody":
        raise RpcError(StatusCode.PERMISSION_DENIED, f"{identity} may not {rpc_method.verb}")


def make_server(methods=METHODS, **changes):
    return GrpcServer(methods, **{"authenticate": authenticate, "authorize": authorize} | changes)


@contextlib.asynccontextmanager
async def connected(server=None, token="ada"):
    """A client of ours on a server of ours, in memory."""
    ours, theirs = memory_stream_pair()
    server = server or make_server()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_connection, theirs, PEER)
        async with open_api_client(ours, ClientOptions(authority="hub", token=token)) as client:
            yield client
        nursery.cancel_scope.cancel()
