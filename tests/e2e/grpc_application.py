# SPDX-License-Identifier: Apache-2.0
"""A gRPC server made of grpcio alone, and the calls that its clients make. Messages are plain bytes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager

import attrs
import grpc

SERVICE = "shop.Orders"
UNLIMITED = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
SECONDS = 60


@attrs.define(eq=False)
class GrpcApplication:
    port: int = 0
    gone: threading.Event = attrs.field(factory=threading.Event)
    """The caller of `Watch` has cancelled."""

    def echo(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        seen = dict(context.invocation_metadata())
        context.send_initial_metadata((("there", seen.get("here", "")),))
        context.set_trailing_metadata((("checked-bin", bytes(range(256))),))
        return request

    def fail(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("retry-after", "5"),))
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "nicht jetzt: später")
        raise AssertionError("abort() raises")

    def count(self, request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        for number in range(int(request)):
            yield b"%d" % number

    def chat(self, requests: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
        for request in requests:
            yield request.upper()

    def total(self, requests: Iterator[bytes], _context: grpc.ServicerContext) -> bytes:
        return b"%d" % sum(len(request) for request in requests)

    def watch(self, _request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        """Three events, and then nothing until the caller has gone."""
        context.add_callback(self.gone.set)
        yield from (b"1", b"2", b"3")
        self.gone.wait(SECONDS)


@contextmanager
def grpc_application(certificate: bytes = b"", key: bytes = b"") -> Iterator[GrpcApplication]:
    application = GrpcApplication()
    server = grpc.server(futures.ThreadPoolExecutor(8), options=UNLIMITED)
    methods = {
        "Echo": grpc.unary_unary_rpc_method_handler(application.echo),
        "Fail": grpc.unary_unary_rpc_method_handler(application.fail),
        "Count": grpc.unary_stream_rpc_method_handler(application.count),
        "Total": grpc.stream_unary_rpc_method_handler(application.total),
        "Chat": grpc.stream_stream_rpc_method_handler(application.chat),
        "Watch": grpc.unary_stream_rpc_method_handler(application.watch),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    if key:
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        application.port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        application.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield application
    finally:
        application.gone.set()
        server.stop(None).wait(SECONDS)


def plain_channel(port: int) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED)


def tls_channel(port: int, roots: bytes, name: str) -> grpc.Channel:
    """The certificate is the application's own, so its name is what has to be asked for."""
    own_name = ("grpc.ssl_target_name_override", name)
    return grpc.secure_channel(
        f"127.0.0.1:{port}", grpc.ssl_channel_credentials(roots), options=(own_name, *UNLIMITED)
    )
