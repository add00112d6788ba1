# SPDX-License-Identifier: Apache-2.0
"""Our gRPC server and client against other implementations: grpcio, nginx ``grpc_pass``, curl, nghttp."""

import contextlib
import functools
import os
import ssl
import threading
from concurrent import futures

import grpc
import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue

from mezite.api.client import CallKind, ClientOptions, RpcError, StatusCode, open_api_client
from mezite.api.health import HealthService
from mezite.api.pb.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from mezite.api.server import PeerInfo
from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.api.echo_service import METHODS, SERVICE, make_server, method
from tests.loopback import listening

pytestmark = pytest.mark.e2e

TOKEN = [("authorization", "Bearer ada")]


async def show_peer(_request, context):
    certificate = context.peer.certificate_der
    return StringValue(value="none" if certificate is None else ssl.DER_cert_to_PEM_cert(certificate))


async def bin_echo(request, context):
    context.trailing_metadata.append(("back-bin", context.metadata.get_bytes("there-bin")))
    return request


async def large(request, _context):
    return BytesValue(value=bytes(request.value))


SERVED = [
    *METHODS,
    method("Peer", show_peer),
    method("Bin", bin_echo),
    method("Large", large, Int64Value, BytesValue),
    *HealthService().methods(),
]


@contextlib.asynccontextmanager
async def serving(tls=None, server=None):
    """Our server on a loopback port."""
    server = server or make_server(SERVED)

    async def accept(stream):
        certificate = None
        if tls is not None:
            stream = TlsStream(stream, tls, server_side=True)
            await stream.do_handshake()
            certificate = stream.peer_certificate()
        await server.serve_connection(
            stream, PeerInfo(client_address="127.0.0.1:1", certificate_der=certificate)
        )

    async with listening(accept) as address:
        yield int(address.rpartition(":")[2])


def mutual_tls():
    certificate, key = self_signed_pem()
    return server_context(certificate, key, ["h2"], client_ca_pems=[certificate])


def channel_to(port, *, tls=False, **options):
    if not tls:
        return grpc.insecure_channel(f"127.0.0.1:{port}", options=list(options.items()))
    certificate, key = self_signed_pem()
    credentials = grpc.ssl_channel_credentials(certificate, key, certificate)
    return grpc.secure_channel(f"localhost:{port}", credentials, options=list(options.items()))


def unary(channel, name, request, response_type=StringValue, **more):
    call = channel.unary_unary(SERVICE + name, type(request).SerializeToString, response_type.FromString)
    return call(request, **{"metadata": TOKEN, "timeout": 20} | more)


async def in_thread(function, *args):
    return await trio.to_thread.run_sync(function, *args)


def failure_of(channel, name, request, **more):
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, name, request, **more)
    return caught.value


def every_kind_of_call(channel):
    assert unary(channel, "Upper", StringValue(value="a")).value == "A"
    stream = channel.unary_stream(SERVICE + "Count", Int64Value.SerializeToString, Int64Value.FromString)
    assert [message.value for message in stream(Int64Value(value=5000), metadata=TOKEN)] == list(range(5000))
    upload = channel.stream_unary(SERVICE + "Total", BytesValue.SerializeToString, Int64Value.FromString)
    pieces = (BytesValue(value=bytes(300_000)) for _ in range(30))
    assert upload(pieces, metadata=TOKEN).value == 9_000_000
    chat = channel.stream_stream(SERVICE + "Chat", StringValue.SerializeToString, StringValue.FromString)
    words = (StringValue(value=str(number)) for number in range(200))
    assert [message.value for message in chat(words, metadata=TOKEN)] == [
        f"<{number}>" for number in range(200)
    ]


def failures(channel):
    error = failure_of(channel, "Fail", StringValue(value="ß"))
    assert (error.code(), error.details()) == (grpc.StatusCode.FAILED_PRECONDITION, "kein nœud: ß 100%")
    assert dict(error.trailing_metadata())["mezite-details-bin"] == '{"node": "ü", "hint": "ask"}'.encode()
    assert failure_of(channel, "Nope", StringValue()).code() is grpc.StatusCode.UNIMPLEMENTED
    assert failure_of(channel, "Crash", StringValue()).code() is grpc.StatusCode.INTERNAL
    assert failure_of(channel, "Upper", StringValue(), metadata=[]).code() is grpc.StatusCode.UNAUTHENTICATED
    assert failure_of(channel, "Hang", StringValue(), timeout=0.3).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    big = StringValue(value="x" * (4 * 1024 * 1024 + 1))
    assert failure_of(channel, "Upper", big).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert unary(channel, "Upper", StringValue(value="a")).value == "A"


def large_messages(channel):
    almost = 4 * 1024 * 1024 - 100
    assert len(unary(channel, "Large", Int64Value(value=almost), BytesValue).value) == almost
    assert len(unary(channel, "Upper", StringValue(value="x" * almost)).value) == almost


def binary_metadata(channel):
    call = channel.unary_unary(SERVICE + "Bin", StringValue.SerializeToString, StringValue.FromString)
    value = bytes(range(256))
    _, done = call.with_call(StringValue(), metadata=[*TOKEN, ("there-bin", value)])
    assert dict(done.trailing_metadata())["back-bin"] == value


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "mtls"])
async def test_grpcio_calls_our_server(tls, caplog):
    def drive(port):
        with channel_to(port, tls=tls) as channel:
            every_kind_of_call(channel)
            failures(channel)
            large_messages(channel)
            binary_metadata(channel)

    async with serving(mutual_tls() if tls else None) as port:
        await in_thread(drive, port)


async def test_the_certificate_of_the_client_reaches_the_call():
    """F3: shown certificates arrive over TLS, and over cleartext there is none."""

    def drive(port, tls):
        with channel_to(port, tls=tls) as channel:
            return unary(channel, "Peer", StringValue()).value

    async with serving(mutual_tls()) as port:
        assert (await in_thread(drive, port, True)).split() == self_signed_pem()[0].decode().split()
    async with serving() as port:
        assert await in_thread(drive, port, False) == "none"


async def test_grpcio_cancels():
    started, cancelled = trio.Event(), trio.Event()

    async def wait(_request, _context):
        started.set()
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(server=make_server([method("Wait", wait)])) as port:
        with channel_to(port) as channel:
            call = channel.unary_unary(
                SERVICE + "Wait", StringValue.SerializeToString, StringValue.FromString
            )
            future = call.future(StringValue(), metadata=TOKEN)
            await started.wait()
            future.cancel()
            with trio.fail_after(5):
                await cancelled.wait()


async def test_an_early_error_while_grpcio_uploads():
    """The status arrives although the client has not finished sending."""

    def drive(port):
        with channel_to(port) as channel:
            upload = channel.stream_unary(
                SERVICE + "Total", BytesValue.SerializeToString, Int64Value.FromString
            )
            with pytest.raises(grpc.RpcError) as caught:
                upload((BytesValue(value=bytes(100_000)) for _ in range(1000)), metadata=[])
            return caught.value.code()

    async with serving() as port:
        assert await in_thread(drive, port) is grpc.StatusCode.UNAUTHENTICATED


async def test_many_calls_at_once():
    def drive(port):
        with channel_to(port) as channel, futures.ThreadPoolExecutor(32) as pool:
            calls = [pool.submit(unary, channel, "Upper", StringValue(value="a")) for _ in range(1500)]
            assert {call.result().value for call in calls} == {"A"}

    async with serving() as port:
        await in_thread(drive, port)


async def test_grpcio_survives_a_graceful_end():
    """GOAWAY: the call in flight finishes, the next one goes over a new connection."""
    started, release = trio.Event(), trio.Event()

    async def wait(_request, _context):
        started.set()
        await release.wait()
        return StringValue(value="done")

    first = make_server([*METHODS, method("Wait", wait)])
    second = make_server(METHODS)
    current, reached_second = first, trio.Event()

    class Front:
        async def serve_connection(self, stream, peer):
            if current is second:
                reached_second.set()
            await current.serve_connection(stream, peer)

    async with serving(server=Front()) as port:
        with channel_to(port) as channel:
            call = channel.unary_unary(
                SERVICE + "Wait", StringValue.SerializeToString, StringValue.FromString
            )
            future = call.future(StringValue(), metadata=TOKEN)
            await started.wait()
            current = second
            first.drain()
            with trio.fail_after(10):
                while not reached_second.is_set():
                    answer = await in_thread(unary, channel, "Upper", StringValue(value="a"))
                    assert answer.value == "A"
            release.set()
            assert (await in_thread(future.result, 10)).value == "done"


# -- our client, a grpcio server ------------------------------------------------------------------


class Theirs(grpc.GenericRpcHandler):
    """The echo service in grpcio."""

    def __init__(self):
        self.cancelled = threading.Event()

    def service(self, details):
        string = {
            "request_deserializer": StringValue.FromString,
            "response_serializer": StringValue.SerializeToString,
        }
        handlers = {
            "Upper": grpc.unary_unary_rpc_method_handler(self.upper, **string),
            "Fail": grpc.unary_unary_rpc_method_handler(self.fail, **string),
            "Hang": grpc.unary_unary_rpc_method_handler(self.hang, **string),
            "Count": grpc.unary_stream_rpc_method_handler(
                lambda request, _context: (Int64Value(value=number) for number in range(request.value)),
                request_deserializer=Int64Value.FromString,
                response_serializer=Int64Value.SerializeToString,
            ),
            "Total": grpc.stream_unary_rpc_method_handler(
                lambda requests, _context: Int64Value(value=sum(len(request.value) for request in requests)),
                request_deserializer=BytesValue.FromString,
                response_serializer=Int64Value.SerializeToString,
            ),
            "Chat": grpc.stream_stream_rpc_method_handler(
                lambda requests, _context: (StringValue(value=f"<{request.value}>") for request in requests),
                **string,
            ),
        }
        return handlers.get(details.method.removeprefix(SERVICE))

    def upper(self, request, context):
        context.set_trailing_metadata([("spent-bin", b"\0\xff")])
        assert ("authorization", "Bearer ada") in context.invocation_metadata()
        return StringValue(value=request.value.upper())

    def fail(self, request, context):
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"kein nœud: {request.value} 100%")

    def hang(self, _request, context):
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(20)
        return StringValue()


@contextlib.contextmanager
def grpcio_server(tls=False):
    handler = Theirs()
    server = grpc.server(futures.ThreadPoolExecutor(8), handlers=[handler])
    if tls:
        certificate, key = self_signed_pem()
        credentials = grpc.ssl_server_credentials([(key, certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port, server, handler
    finally:
        server.stop(None).wait(10)


@contextlib.asynccontextmanager
async def client_of(port, *, tls=False):
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    if tls:
        context = client_context([self_signed_pem()[0]], ["h2"])
        stream = TlsStream(stream, context, server_side=False, server_hostname="localhost")
        await stream.do_handshake()
    options = ClientOptions(authority="localhost", scheme="https" if tls else "http", token="ada")
    async with open_api_client(stream, options) as client:
        yield client


@pytest.mark.parametrize("tls", [False, True], ids=["h2c", "tls"])
async def test_our_client_calls_grpcio(tls):
    with grpcio_server(tls) as (port, _server, handler):
        async with client_of(port, tls=tls) as client:
            assert (await client.unary(SERVICE + "Upper", StringValue(value="a"), StringValue)).value == "A"
            with pytest.raises(RpcError) as caught:
                await client.unary(SERVICE + "Fail", StringValue(value="ß"), StringValue)
            assert caught.value.status is StatusCode.FAILED_PRECONDITION
            assert caught.value.message == "kein nœud: ß 100%"
            with pytest.raises(RpcError) as caught:
                await client.unary(SERVICE + "Nope", StringValue(), StringValue)
            assert caught.value.status is StatusCode.UNIMPLEMENTED
            with pytest.raises(RpcError) as caught:
                await client.unary(SERVICE + "Hang", StringValue(), StringValue, deadline=0.3)
            assert caught.value.status is StatusCode.DEADLINE_EXCEEDED
            assert await in_thread(handler.cancelled.wait, 5)
            async with client.server_stream(SERVICE + "Count", Int64Value(value=3000), Int64Value) as call:
                assert [message.value async for message in call] == list(range(3000))
            async with client.open_call(SERVICE + "Total", Int64Value, CallKind.CLIENT_STREAM) as call:
                for _ in range(30):
                    await call.send(BytesValue(value=bytes(300_000)))
                call.end_requests()
                assert (await call.receive()).value == 9_000_000
            async with client.open_call(SERVICE + "Chat", StringValue) as call:
                for number in range(50):
                    await call.send(StringValue(value=str(number)))
                    assert (await call.receive()).value == f"<{number}>"


async def call_again(call):
    await call.send(StringValue(value="a"))
    return (await call.receive()).value


async def test_a_grpcio_server_that_ends_gracefully():
    """Its GOAWAY leaves our call in flight alone, and then there are no more."""
    with grpcio_server() as (port, server, handler):
        async with client_of(port) as client, client.open_call(SERVICE + "Chat", StringValue) as call:
            await call.send(StringValue(value="a"))
            assert (await call.receive()).value == "<a>"
            stopping = server.stop(10)
            with trio.fail_after(5):
                while client.is_usable:
                    assert (await call_again(call)) == "<a>"
            await call.send(StringValue(value="b"))
            assert (await call.receive()).value == "<b>"
            call.end_requests()
            assert await call.receive() is None
            with pytest.raises(RpcError) as caught:
                await client.unary(SERVICE + "Upper", StringValue(), StringValue)
            assert caught.value.status is StatusCode.UNAVAILABLE
            assert await in_thread(stopping.wait, 10)
            assert not handler.cancelled.is_set()


# -- proxies and bare HTTP/2 ----------------------------------------------------------------------


NGINX = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; {user}
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} ssl http2;
    ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
    client_max_body_size 0;
    location / {{ grpc_pass grpc://127.0.0.1:{upstream}; }}
  }}
}}
"""


@contextlib.asynccontextmanager
async def nginx(folder, upstream):
    certificate, key = self_signed_pem()
    (folder / "cert.pem").write_bytes(certificate)
    (folder / "key.pem").write_bytes(key)
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    user = "user root;" if os.geteuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream, user=user))
    async with trio.open_nursery() as nursery:
        run = functools.partial(
            trio.run_process, ["nginx", "-c", str(config), "-p", str(folder)], capture_stderr=True
        )
        process = await nursery.start(functools.partial(run, check=False))
        with trio.fail_after(10):
            while True:
                try:
                    await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await trio.sleep(0.02)
        try:
            yield port
        finally:
            process.terminate()


async def test_through_nginx(tmp_path, caplog):
    def drive(port):
        with channel_to(port, tls=True) as channel:
            every_kind_of_call(channel)
            failures(channel)
            binary_metadata(channel)

    async with serving() as upstream, nginx(tmp_path, upstream) as port:
        await in_thread(drive, port)


async def test_nginx_and_its_endless_window(tmp_path):
    """It announces 2 GiB and buffers nothing for a client that is slow: our own queue holds the handler back."""
    sent = 0

    async def endless(_request, _context, responses):
        nonlocal sent
        while True:
            await responses.send(BytesValue(value=bytes(16_384)))
            sent += 16_384

    server = make_server([method("Endless", endless, StringValue, BytesValue, kind=CallKind.SERVER_STREAM)])

    def drive(port):
        with channel_to(port, tls=True) as channel:
            call = channel.unary_stream(
                SERVICE + "Endless", StringValue.SerializeToString, BytesValue.FromString
            )
            stream = call(StringValue(), metadata=TOKEN)
            next(stream)
            return stream

    async with serving(server=server) as upstream, nginx(tmp_path, upstream) as port:
        with trio.fail_after(10):
            stream = await in_thread(drive, port)
        before = -1
        with trio.fail_after(20):
            while before != sent:
                before = sent
                await trio.sleep(0.5)
        assert sent < 64 * 1024 * 1024
        stream.cancel()


async def run_program(*command):
    return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


async def test_curl_with_prior_knowledge(tmp_path):
    body = tmp_path / "body"
    body.write_bytes(b"\0\0\0\0\0")
    async with serving() as port:
        done = await run_program(
            *("curl", "-sS", "-i", "--http2-prior-knowledge", "--data-binary", f"@{body}"),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://127.0.0.1:{port}/grpc.health.v1.Health/Check",
        )
        assert done.returncode == 0, done.stderr
        assert b"HTTP/2 200" in done.stdout
        assert b"grpc-status: 0" in done.stdout
        assert b"\0\0\0\0\x02\x08\x01" in done.stdout
        done = await run_program("curl", "-sS", "-i", "--http2-prior-knowledge", f"http://127.0.0.1:{port}/")
        assert b"HTTP/2 405" in done.stdout


async def test_nghttp():
    async with serving() as port:
        done = await run_program("nghttp", "-v", f"http://127.0.0.1:{port}/")
        assert done.returncode == 0, done.stderr
        assert b":status: 405" in done.stdout
        assert b"PROTOCOL_ERROR" not in done.stdout


async def test_health_for_grpcio():
    def drive(port):
        with channel_to(port) as channel:
            path = "/grpc.health.v1.Health/Check"
            call = channel.unary_unary(
                path, HealthCheckRequest.SerializeToString, HealthCheckResponse.FromString
            )
            return call(HealthCheckRequest(), timeout=10).status

    async with serving() as port:
        assert await in_thread(drive, port) == HealthCheckResponse.SERVING
