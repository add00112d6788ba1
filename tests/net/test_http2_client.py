# SPDX-License-Identifier: Apache-2.0
import contextlib

import h2.events
import h2.settings
import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mezite.net.http2_client import DEFAULT_CLIENT_LIMITS, Http2ClientConnection
from mezite.net.http2_server import Http2ServerConnection
from mezite.net.http2_stream import Http2ConnectionLostError, StreamResetError
from tests.net.http2_peers import REQUEST, H2Peer

RESPONSE = [(b":status", b"200")]


@contextlib.asynccontextmanager
async def connected(limits=DEFAULT_CLIENT_LIMITS):
    """A client of ours and a server made of h2."""
    ours, theirs = memory_stream_pair()
    client = Http2ClientConnection(ours, limits)
    async with trio.open_nursery() as nursery:
        await nursery.start(client.run)
        yield client, H2Peer(theirs, client_side=False)
        nursery.cancel_scope.cancel()


async def test_a_request_and_its_answer_between_our_two_sides():
    async def handler(head, stream):
        body = b""
        while data := await stream.receive_some():
            body += data
        stream.send_headers([*RESPONSE, (b"path", head.path.encode())])
        await stream.send_data(body * 2)
        stream.end([(b"t", b"1")])

    ours, theirs = memory_stream_pair()
    client = Http2ClientConnection(ours)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Http2ServerConnection(theirs, handler).run)
        await nursery.start(client.run)
        stream = await client.open_stream(REQUEST)
        nursery.start_soon(stream.send_data, bytes(400_000))
        await wait_all_tasks_blocked()
        stream.end()
        assert (b"path", b"/s.S/M") in await stream.wait_headers()
        size = 0
        while data := await stream.receive_some():
            size += len(data)
        assert size == 800_000
        assert stream.received_trailers == ((b"t", b"1"),)
        assert await stream.receive_some() == b""
        client.close()


async def test_a_request_without_a_body():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST, end_stream=True)
        await server.wait_for(h2.events.StreamEnded)
        server.h2.send_headers(stream.stream_id, RESPONSE, end_stream=True)
        await server.flush()
        assert await stream.wait_headers() == tuple(RESPONSE)
        assert stream.ended_with_headers


async def test_a_stream_that_the_server_resets():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST)
        await server.wait_for(h2.events.RequestReceived)
        server.h2.reset_stream(stream.stream_id, ErrorCodes.REFUSED_STREAM)
        await server.flush()
        with pytest.raises(StreamResetError) as caught:
            await stream.wait_headers()
        assert caught.value.error_code == ErrorCodes.REFUSED_STREAM


async def test_a_server_that_stops_our_upload_has_answered():
    """RFC 9113 section 8.1: RST_STREAM with NO_ERROR behind a whole answer loses none of it."""
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST)
        await server.wait_for(h2.events.RequestReceived)
        server.h2.send_headers(stream.stream_id, RESPONSE)
        server.h2.send_data(stream.stream_id, b"answer", end_stream=True)
        server.h2.reset_stream(stream.stream_id, ErrorCodes.NO_ERROR)
        await server.flush()
        await wait_all_tasks_blocked()
        assert await stream.wait_headers() == tuple(RESPONSE)
        assert await stream.receive_some() == b"answer"
        assert await stream.receive_some() == b""
        with pytest.raises(StreamResetError):
            await stream.send_data(b"more")


async def test_giving_a_request_up():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST)
        stream.reset(ErrorCodes.CANCEL)
        stream.reset(ErrorCodes.CANCEL)
        assert (await server.wait_for(h2.events.StreamReset)).error_code == ErrorCodes.CANCEL
        with pytest.raises(StreamResetError):
            await stream.receive_some()
        stream.end()


async def test_a_request_waits_for_room_at_the_server():
    async with connected() as (client, server):
        server.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 1})
        await server.flush()
        await wait_all_tasks_blocked()
        first = await client.open_stream(REQUEST, end_stream=True)
        opened = []

        async def second():
            opened.append(await client.open_stream(REQUEST))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(second)
            await server.wait_for(h2.events.StreamEnded)
            await wait_all_tasks_blocked()
            assert opened == []
            server.h2.send_headers(first.stream_id, RESPONSE, end_stream=True)
            await server.flush()
        assert opened[0].stream_id > first.stream_id


async def test_goaway_spares_what_the_server_will_answer():
    """RFC 9113 section 6.8: streams above the last one were not looked at; the others finish; no new ones."""
    async with connected() as (client, server):
        first = await client.open_stream(REQUEST, end_stream=True)
        second = await client.open_stream(REQUEST, end_stream=True)
        await server.wait_for(h2.events.StreamEnded, stream_id=second.stream_id)
        await server.stream.send_all(GoAwayFrame(0, last_stream_id=first.stream_id).serialize())
        with pytest.raises(Http2ConnectionLostError) as caught:
            await second.wait_headers()
        assert caught.value.unprocessed
        assert not client.is_usable
        with pytest.raises(Http2ConnectionLostError, match="going away"):
            await client.open_stream(REQUEST)
        server.h2.send_headers(first.stream_id, RESPONSE, end_stream=True)
        await server.flush()
        assert await first.wait_headers() == tuple(RESPONSE)
        assert await server.stream.receive_some()
        assert await server.stream.receive_some() == b""


async def test_goaway_before_an_answer_to_waiting_requests():
    async with connected() as (client, server):
        server.h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: 0})
        await server.flush()
        await wait_all_tasks_blocked()
        failures = []

        async def ask():
            try:
                await client.open_stream(REQUEST)
            except Http2ConnectionLostError as error:
                failures.append(error.unprocessed)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            await server.stream.aclose()
        assert failures == [True, True]


async def test_a_lost_connection_fails_its_streams():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST)
        await server.stream.aclose()
        with pytest.raises(Http2ConnectionLostError, match="closed"):
            await stream.wait_headers()
        with pytest.raises(Http2ConnectionLostError):
            stream.send_headers([])


async def test_draining_ends_with_the_last_stream():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST, end_stream=True)
        client.drain()
        assert not client.is_usable
        await server.wait_for(h2.events.RequestReceived)
        stream.reset(ErrorCodes.CANCEL)
        while await server.stream.receive_some():
            pass


async def test_a_server_that_does_not_answer_pings(autojump_clock):
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST)
        await server.flush()
        with pytest.raises(Http2ConnectionLostError, match="does not answer"):
            await stream.wait_headers()
        assert trio.current_time() == pytest.approx(35, abs=1)


async def test_a_server_that_does_not_even_send_settings(autojump_clock):
    async with connected() as (client, _server):
        stream = await client.open_stream(REQUEST)
        with pytest.raises(Http2ConnectionLostError, match="SETTINGS"):
            await stream.wait_headers()


async def test_answers_with_too_many_fields():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST, end_stream=True)
        await server.wait_for(h2.events.RequestReceived)
        server.h2.send_headers(stream.stream_id, [*RESPONSE, *[(b"a", b"b")] * 100])
        await server.flush()
        with pytest.raises(StreamResetError, match="100 fields"):
            await stream.wait_headers()


async def test_cancelling_cuts_the_connection():
    async with connected() as (client, server):
        stream = await client.open_stream(REQUEST)
        await wait_all_tasks_blocked()
    with pytest.raises(Http2ConnectionLostError):
        await stream.wait_headers()
    assert await server.stream.receive_some()
    assert not client.is_usable


async def test_a_connection_that_is_used_up():
    """HTTP/2 has 2^30 stream ids a side."""
    async with connected() as (client, _server):
        client._driver.connection._h2.highest_outbound_stream_id = 2**31 - 1
        with pytest.raises(Http2ConnectionLostError) as caught:
            await client.open_stream(REQUEST)
        assert caught.value.unprocessed
