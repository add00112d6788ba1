# SPDX-License-Identifier: Apache-2.0
import h2.events
import pytest
import trio
from google.protobuf.wrappers_pb2 import BytesValue, Int64Value, StringValue
from trio.testing import memory_stream_pair

from mezite.api.client import CallKind, ClientOptions, MethodRef, RpcError, StatusCode, open_api_client
from mezite.core.grpc.message_framing import frame_message
from tests.api.echo_service import SERVICE, connected, make_server, method
from tests.net.http2_peers import H2Peer

UPPER = MethodRef(SERVICE + "Upper", StringValue, StringValue)
HEAD = [(b":status", b"200"), (b"content-type", b"application/grpc")]


async def test_unary_calls():
    async with connected() as client:
        assert (await client.unary(UPPER, StringValue(value="a"))).value == "A"
        assert (await client.unary(SERVICE + "Upper", StringValue(value="b"), StringValue)).value == "B"
        with pytest.raises(TypeError, match="response type"):
            await client.unary(SERVICE + "Upper", StringValue())


async def test_metadata_both_ways():
    async def show(request, context):
        assert context.metadata.get("k") == "v"
        assert context.metadata.get_bytes("k-bin") == b"\0"
        assert context.peer.client_address == "192.0.2.1:4000"
        assert context.deadline is not None
        context.response_metadata.append(("r", "1"))
        return request

    async with connected(make_server([method("Show", show)])) as client:
        opened = client.open_call(
            SERVICE + "Show", StringValue, CallKind.UNARY, deadline=9, metadata=[("k", "v"), ("k-bin", b"\0")]
        )
        async with opened as call:
            await call.send(StringValue(value="x"))
            call.end_requests()
            assert (await call.receive()).value == "x"
            assert await call.receive() is None
            assert call.metadata.get("r") == "1"
            assert list(call.trailing_metadata) == []


async def test_errors_carry_status_text_and_details():
    async with connected() as client:
        with pytest.raises(RpcError) as caught:
            await client.unary(SERVICE + "Fail", StringValue(value="ß"), StringValue)
    assert caught.value.status is StatusCode.FAILED_PRECONDITION
    assert caught.value.message == "kein nœud: ß 100%"
    assert caught.value.details == {"node": "ü", "hint": "ask"}
    assert str(caught.value) == "FAILED_PRECONDITION: kein nœud: ß 100%"


async def test_without_a_token():
    async with connected(token=None) as client:
        with pytest.raises(RpcError) as caught:
            await client.unary(UPPER, StringValue())
    assert caught.value.status is StatusCode.UNAUTHENTICATED


async def test_a_token_is_not_shown():
    assert "geheim" not in repr(ClientOptions(authority="hub", token="geheim"))


async def test_a_server_stream():
    async with connected() as client:
        async with client.server_stream(SERVICE + "Count", Int64Value(value=500), Int64Value) as call:
            assert [message.value async for message in call] == list(range(500))
        async with client.server_stream(SERVICE + "Count", Int64Value(value=10**6), Int64Value) as call:
            assert (await call.receive()).value == 0
        reference = MethodRef(SERVICE + "Count", Int64Value, Int64Value)
        async with client.server_stream(reference, Int64Value(value=0)) as call:
            assert await call.receive() is None


async def test_a_client_stream():
    async with (
        connected() as client,
        client.open_call(SERVICE + "Total", Int64Value, CallKind.CLIENT_STREAM) as call,
    ):
        for _ in range(20):
            await call.send(BytesValue(value=bytes(100_000)))
        call.end_requests()
        assert (await call.receive()).value == 2_000_000


async def test_a_conversation():
    async with connected() as client, client.open_call(SERVICE + "Chat", StringValue) as call:
        for word in ("a", "b"):
            await call.send(StringValue(value=word))
            assert (await call.receive()).value == f"<{word}>"
        call.end_requests()
        assert await call.receive() is None
        assert await call.receive() is None


async def test_sending_to_a_call_that_has_ended_is_not_an_error_of_its_own():
    async with connected() as client, client.open_call(SERVICE + "Nope", StringValue, CallKind.BIDI) as call:
        with pytest.raises(RpcError) as caught:
            await call.receive()
        assert caught.value.status is StatusCode.UNIMPLEMENTED
        await call.send(StringValue(value="x"))
        call.end_requests()


async def test_deadlines(autojump_clock):
    async with connected() as client:
        for deadline in (3.0, 0.0):
            with pytest.raises(RpcError) as caught:
                await client.unary(SERVICE + "Hang", StringValue(), StringValue, deadline=deadline)
            assert caught.value.status is StatusCode.DEADLINE_EXCEEDED
        assert trio.current_time() == pytest.approx(3, abs=0.1)
        assert (await client.unary(UPPER, StringValue(value="a"))).value == "A"


async def test_what_the_block_raises_comes_out_as_it_is():
    with pytest.raises(KeyError):
        async with open_api_client(memory_stream_pair()[0], ClientOptions(authority="hub")):
            raise KeyError("mine")


# -- servers that are no good ---------------------------------------------------------------------


async def answered(*frames, close=False, kind=CallKind.UNARY):
    """The error of a call that a server made of h2 answers with those fields and bytes."""
    ours, theirs = memory_stream_pair()
    server = H2Peer(theirs, client_side=False)

    async def answer():
        event = await server.wait_for(h2.events.StreamEnded)
        for frame in frames:
            if isinstance(frame, bytes):
                server.h2.send_data(event.stream_id, frame)
            else:
                server.h2.send_headers(event.stream_id, frame[0], end_stream=frame[1])
        await server.flush()
        if close:
            await theirs.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with open_api_client(ours, ClientOptions(authority="hub")) as client:
            with pytest.raises(RpcError) as caught:
                await client.unary(UPPER, StringValue())
    return caught.value


async def test_answers_from_a_balancer():
    error = await answered(([(b":status", b"503")], False), b"<html>")
    assert error.status is StatusCode.UNAVAILABLE
    assert "503" in error.message


async def test_answers_without_a_status():
    ours = frame_message(StringValue(value="x").SerializeToString())
    error = await answered((HEAD, False), ours, ([(b"x", b"y")], True))
    assert error.status is StatusCode.UNKNOWN
    assert (await answered((HEAD, True))).status is StatusCode.UNKNOWN


async def test_answers_that_end_without_trailers():
    ours, theirs = memory_stream_pair()
    server = H2Peer(theirs, client_side=False)

    async def answer():
        event = await server.wait_for(h2.events.StreamEnded)
        server.h2.send_headers(event.stream_id, HEAD)
        server.h2.send_data(event.stream_id, frame_message(b""), end_stream=True)
        await server.flush()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        async with open_api_client(ours, ClientOptions(authority="hub")) as client:
            with pytest.raises(RpcError) as caught:
                await client.unary(UPPER, StringValue())
    assert caught.value.status is StatusCode.INTERNAL


async def test_answers_that_are_not_the_message():
    error = await answered((HEAD, False), frame_message(b"\xff"), ([(b"grpc-status", b"0")], True))
    assert error.status is StatusCode.INTERNAL
    assert "google.protobuf.StringValue" in error.message


async def test_answers_of_no_or_two_messages():
    done = ([(b"grpc-status", b"0")], True)
    assert (await answered((HEAD, False), done)).status is StatusCode.INTERNAL
    two = frame_message(b"") * 2
    assert (await answered((HEAD, False), two, done)).status is StatusCode.INTERNAL


async def test_a_connection_that_is_lost():
    error = await answered((HEAD, False), close=True)
    assert error.status is StatusCode.UNAVAILABLE


@pytest.mark.parametrize("details", [b"not json", b"[]", b"\xff"])
async def test_details_that_cannot_be_read(details):
    import base64

    trailers = [(b"grpc-status", b"5"), (b"mezite-details-bin", base64.b64encode(details))]
    error = await answered(([*HEAD, *trailers], True))
    assert error.status is StatusCode.NOT_FOUND
    assert error.details == {}
