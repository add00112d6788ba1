# SPDX-License-Identifier: Apache-2.0
import re

import h2.events
import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mezite.api.server import CallKind, RpcError, StatusCode
from mezite.core.grpc.message_framing import frame_message
from tests.api.echo_service import METHODS, PEER, SERVICE, connected, make_server, method, upper
from tests.net.http2_peers import H2Peer

HELLO = frame_message(StringValue(value="hello").SerializeToString())


def request(path, *extra):
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"https"),
        (b":path", path.encode()),
        (b":authority", b"hub"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"authorization", b"Bearer ada"),
    ]
    changes = dict(extra)
    changed = [(name, changes.pop(name, value)) for name, value in fields]
    return [field for field in [*changed, *changes.items()] if field[1]]


async def exchange(fields, *bodies, server=None, end=True, wait=h2.events.StreamEnded):
    """All fields that a bare HTTP/2 client gets back: head and trailers in one."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon((server or make_server()).serve_connection, theirs, PEER)
        peer = H2Peer(ours)
        stream_id = peer.open(fields)
        for body in bodies:
            peer.h2.send_data(stream_id, body)
        if end:
            peer.h2.end_stream(stream_id)
        await peer.flush()
        await peer.wait_for(wait)
        nursery.cancel_scope.cancel()
    kinds = (h2.events.ResponseReceived, h2.events.TrailersReceived)
    return dict(field for event in peer.events if isinstance(event, kinds) for field in event.headers)


def status_of(fields):
    return StatusCode(int(fields[b"grpc-status"]))


async def test_a_unary_call():
    fields = await exchange(request(SERVICE + "Upper"), HELLO)
    assert fields[b":status"] == b"200"
    assert fields[b"content-type"] == b"application/grpc"
    assert fields[b"who"] == b"ada"
    assert fields[b"spent-bin"] == b"AP8"
    assert status_of(fields) is StatusCode.OK


async def test_requests_that_are_not_grpc():
    assert (await exchange(request(SERVICE + "Upper", (b":method", b"GET"))))[b":status"] == b"405"
    assert (await exchange(request(SERVICE + "Upper", (b"content-type", b"text/html"))))[b":status"] == b"415"
    assert (await exchange(request(SERVICE + "Upper", (b"content-type", b""))))[b":status"] == b"415"


@pytest.mark.parametrize(
    "path", ["/", "/test.Echo/Nope", "/test.Echo/Upper?x=1", "/test.Echo/upper", "/test.Echo/Upper/"]
)
async def test_what_is_not_registered_is_not_served(path):
    """D8, E13: the resolved method decides, by its exact path."""
    assert status_of(await exchange(request(path), HELLO)) is StatusCode.UNIMPLEMENTED


# -- who may call ---------------------------------------------------------------------------------


@pytest.mark.parametrize("rpc_method", METHODS, ids=lambda rpc_method: rpc_method.path)
async def test_every_method_but_public_ones_needs_an_identity_and_a_permission(rpc_method):
    """E13, F3: each registered method, as nobody and as one without rights; the body is not even sent."""
    if rpc_method.public:
        assert (
            status_of(await exchange(request(rpc_method.path, (b"authorization", b"")), HELLO))
            is StatusCode.OK
        )
        return
    anonymous = await exchange(request(rpc_method.path, (b"authorization", b"")), end=False)
    assert status_of(anonymous) is StatusCode.UNAUTHENTICATED
    basic = await exchange(request(rpc_method.path, (b"authorization", b"Basic YTpi")), end=False)
    assert status_of(basic) is StatusCode.UNAUTHENTICATED
    denied = await exchange(request(rpc_method.path, (b"authorization", b"bearer nobody")), end=False)
    assert status_of(denied) is StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize("part", ["verb", "resource"])
def test_a_method_without_a_verb_or_a_resource_cannot_be_made(part):
    """E13."""
    with pytest.raises(ValueError, match=part):
        method("X", upper, **{part: ""})


@pytest.mark.parametrize("path", ["", "X", "/X", "/a/b/c", "/a/"])
def test_paths_of_methods(path):
    with pytest.raises(ValueError, match="not /package"):
        type(METHODS[0])(
            path=path,
            request_type=StringValue,
            response_type=StringValue,
            handler=upper,
            verb="v",
            resource="r",
        )


def test_a_path_is_registered_once():
    with pytest.raises(ValueError, match="twice"):
        make_server([METHODS[0], METHODS[0]])


async def test_an_authenticator_that_crashes_lets_nobody_in(caplog):
    async def authenticate(_context):
        raise RuntimeError("database is gone")

    fields = await exchange(request(SERVICE + "Upper"), HELLO, server=make_server(authenticate=authenticate))
    assert status_of(fields) is StatusCode.INTERNAL
    assert "database is gone" in caplog.text


# -- failures -------------------------------------------------------------------------------------


async def test_an_exception_becomes_an_id_and_no_text(caplog):
    """The traceback is in the log, under the id that the client got."""
    fields = await exchange(request(SERVICE + "Crash"), HELLO)
    assert status_of(fields) is StatusCode.INTERNAL
    message = fields[b"grpc-message"].decode()
    assert "secret" not in repr(fields)
    identifier = re.fullmatch("internal error, correlation id ([0-9a-f]{16})", message)[1]
    assert identifier in caplog.text
    assert "the secret of the hub" in caplog.text


async def test_an_rpc_error_keeps_its_status_inside_nurseries():
    async def nested(_request, _context):
        async with trio.open_nursery():
            raise RpcError(StatusCode.NOT_FOUND, "no such node")

    fields = await exchange(request(SERVICE + "N"), HELLO, server=make_server([method("N", nested)]))
    assert status_of(fields) is StatusCode.NOT_FOUND


async def test_several_errors_at_once_are_internal(caplog):
    async def nested(_request, _context):
        raise ExceptionGroup("two", [RpcError(StatusCode.NOT_FOUND, "a"), ValueError("b")])

    fields = await exchange(request(SERVICE + "N"), HELLO, server=make_server([method("N", nested)]))
    assert status_of(fields) is StatusCode.INTERNAL


async def test_an_answer_of_the_wrong_type_is_internal(caplog):
    async def wrong(_request, _context):
        return Int64Value(value=1)

    fields = await exchange(request(SERVICE + "W"), HELLO, server=make_server([method("W", wrong)]))
    assert status_of(fields) is StatusCode.INTERNAL


async def test_metadata_that_cannot_be_sent_does_not_hide_the_status(caplog):
    async def odd(_request, context):
        context.trailing_metadata.append(("grpc-status", "0"))
        raise RpcError(StatusCode.ABORTED, "stop")

    fields = await exchange(request(SERVICE + "O"), HELLO, server=make_server([method("O", odd)]))
    assert status_of(fields) is StatusCode.ABORTED


@pytest.mark.parametrize(
    ("extra", "body", "code"),
    [
        ((b"grpc-timeout", b"soon"), HELLO, StatusCode.INTERNAL),
        ((b"grpc-encoding", b"gzip"), HELLO, StatusCode.UNIMPLEMENTED),
        ((b"x-bin", b"!"), HELLO, StatusCode.INTERNAL),
        ((b"x", b"y"), b"", StatusCode.INTERNAL),
        ((b"x", b"y"), HELLO + HELLO, StatusCode.INTERNAL),
        ((b"x", b"y"), b"\1\0\0\0\0", StatusCode.INTERNAL),
        ((b"x", b"y"), b"\0\xff\xff\xff\xff", StatusCode.RESOURCE_EXHAUSTED),
        ((b"x", b"y"), frame_message(b"\xff"), StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_malformed_requests(extra, body, code):
    assert status_of(await exchange(request(SERVICE + "Upper", extra), body)) is code


async def test_messages_are_limited():
    """D15: 4 MiB, for strangers 64 KiB, told from the length before the bytes arrive."""
    large = b"\0" + (4 * 1024 * 1024 + 1).to_bytes(4, "big")
    fields = await exchange(request(SERVICE + "Upper"), large, end=False)
    assert status_of(fields) is StatusCode.RESOURCE_EXHAUSTED
    small = b"\0" + (64 * 1024 + 1).to_bytes(4, "big")
    fields = await exchange(request(SERVICE + "Public"), small, end=False)
    assert status_of(fields) is StatusCode.RESOURCE_EXHAUSTED


async def test_an_answer_above_the_limit_is_internal(caplog):
    async def large(_request, _context):
        return BytesValue(value=bytes(4 * 1024 * 1024))

    server = make_server([method("L", large, response_type=BytesValue)])
    fields = await exchange(request(SERVICE + "L"), HELLO, server=server)
    assert status_of(fields) is StatusCode.INTERNAL


# -- time -----------------------------------------------------------------------------------------


async def test_the_deadline_of_the_client(autojump_clock):
    fields = await exchange(request(SERVICE + "Hang", (b"grpc-timeout", b"5S")), HELLO)
    assert status_of(fields) is StatusCode.DEADLINE_EXCEEDED
    assert trio.current_time() == pytest.approx(5, abs=0.1)


async def test_a_unary_call_ends_even_if_its_client_would_wait(autojump_clock):
    fields = await exchange(request(SERVICE + "Hang"), HELLO)
    assert status_of(fields) is StatusCode.DEADLINE_EXCEEDED
    assert trio.current_time() == pytest.approx(120, abs=0.1)


async def test_a_public_stream_ends_too(autojump_clock):
    async def watch(_request, _context, _responses):
        await trio.sleep_forever()

    server = make_server([method("Watch", watch, kind=CallKind.SERVER_STREAM, public=True)])
    fields = await exchange(request(SERVICE + "Watch"), HELLO, server=server)
    assert status_of(fields) is StatusCode.DEADLINE_EXCEEDED
    assert trio.current_time() == pytest.approx(600, abs=0.1)


async def test_a_request_that_comes_too_slowly(autojump_clock):
    """D14: ten seconds, and one more for each KiB that came."""
    fields = await exchange(request(SERVICE + "Upper"), b"\0\0\0\xff\xff", bytes(2048), end=False)
    assert status_of(fields) is StatusCode.DEADLINE_EXCEEDED
    assert trio.current_time() == pytest.approx(12, abs=0.1)


# -- connections ----------------------------------------------------------------------------------


async def test_a_client_that_gives_up_cancels_the_handler():
    ended = trio.Event()

    async def wait(_request, _context):
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with connected(make_server([method("Wait", wait)])) as client:
        with trio.move_on_after(0.01):
            await client.unary(SERVICE + "Wait", StringValue(), StringValue)
        await ended.wait()


async def test_a_handler_that_learns_of_the_end_by_sending():
    failures = []
    gone, told = trio.Event(), trio.Event()

    async def stream(_request, _context, responses):
        with trio.CancelScope(shield=True):
            await gone.wait()
            try:
                await responses.send(StringValue())
            except Exception as error:
                failures.append(type(error).__name__)
                raise
            finally:
                told.set()

    server = make_server([method("S", stream, kind=CallKind.SERVER_STREAM)])
    async with connected(server) as client:
        async with client.server_stream(SERVICE + "S", StringValue(), StringValue):
            await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        gone.set()
        await told.wait()
    assert failures == ["StreamResetError"]


async def test_drain_finishes_calls_and_refuses_connections(autojump_clock):
    release = trio.Event()

    async def wait(_request, _context):
        await release.wait()
        return StringValue(value="done")

    server = make_server([method("Wait", wait)])
    answers = []
    async with connected(server) as client, trio.open_nursery() as nursery:

        async def call():
            answers.append((await client.unary(SERVICE + "Wait", StringValue(), StringValue)).value)

        nursery.start_soon(call)
        await wait_all_tasks_blocked()
        server.drain()
        await wait_all_tasks_blocked()
        assert not client.is_usable
        with pytest.raises(RpcError) as caught:
            await client.unary(SERVICE + "Wait", StringValue(), StringValue)
        assert caught.value.status is StatusCode.UNAVAILABLE
        release.set()
    assert answers == ["done"]
    async with connected(server) as client:
        await trio.sleep(5)
        assert not client.is_usable
