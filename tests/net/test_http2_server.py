# SPDX-License-Identifier: Apache-2.0
import contextlib
import math

import h2.events
import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import (
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)
from trio.testing import lockstep_stream_pair, wait_all_tasks_blocked

from mezite.net.http2_limits import DEFAULT_FRAME_RATES, FrameKind, Http2Limits, Rate
from mezite.net.http2_server import Http2ServerConnection
from mezite.net.http2_stream import Http2ConnectionLostError, StreamResetError
from tests.net.http2_peers import REQUEST, FramePeer, H2Peer, serving

RESPONSE = [(b":status", b"200")]
TRAILERS = [(b"grpc-status", b"0")]


async def read_all(stream):
    body = b""
    while data := await stream.receive_some():
        body += data
    return body


async def echo(_head, stream):
    body = await read_all(stream)
    stream.send_headers(RESPONSE)
    await stream.send_data(body)
    stream.end(TRAILERS)


async def hang(_head, _stream):
    await trio.sleep_forever()


async def answer(_head, stream):
    stream.send_headers(RESPONSE, end_stream=True)


async def test_a_request_and_its_answer():
    async with serving(echo) as (ours, _server):
        peer = H2Peer(ours)
        stream_id = peer.open()
        peer.h2.send_data(stream_id, b"hello", end_stream=True)
        await peer.flush()
        trailers = await peer.wait_for(h2.events.TrailersReceived)
        assert trailers.headers == TRAILERS
        assert [event.data for event in peer.events if isinstance(event, h2.events.DataReceived)] == [
            b"hello"
        ]


async def test_an_answer_without_trailers_or_body():
    async def plain(_head, stream):
        stream.send_headers(RESPONSE)
        stream.end()
        stream.end()

    async with serving(plain) as (ours, _server):
        peer = H2Peer(ours)
        peer.open(end_stream=True)
        await peer.flush()
        await peer.wait_for(h2.events.StreamEnded)


async def test_a_body_ends_with_its_last_frame():
    async def plain(_head, stream):
        stream.send_headers(RESPONSE)
        await stream.send_data(b"body")
        stream.end()

    async with serving(plain) as (ours, _server):
        peer = H2Peer(ours)
        peer.open(end_stream=True)
        await peer.flush()
        await peer.wait_for(h2.events.StreamEnded)
        assert [e.data for e in peer.events if isinstance(e, h2.events.DataReceived)] == [b"body"]


async def test_an_early_answer_stops_the_upload():
    """RFC 9113 section 8.1: the whole answer, then RST_STREAM with NO_ERROR."""

    async def refuse(_head, stream):
        stream.send_headers([*RESPONSE, *TRAILERS], end_stream=True)
        assert await stream.receive_some() == b""

    async with serving(refuse) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1)
        answer = await peer.receive_a(HeadersFrame)
        assert "END_STREAM" in answer.flags
        reset = await peer.receive_a(RstStreamFrame, stream_id=1)
        assert reset.error_code == ErrorCodes.NO_ERROR


async def test_what_is_no_request_gets_a_status_and_no_handler():
    """D3, D8."""
    async with serving(hang) as (ours, _server):
        peer = H2Peer(ours)
        peer.open([*REQUEST[:2], (b":path", b"//evil"), REQUEST[3]], end_stream=True)
        await peer.flush()
        event = await peer.wait_for(h2.events.ResponseReceived)
        assert event.headers == [(b":status", b"400")]


async def test_a_handler_that_raises_harms_nobody_else(caplog):
    """P3: the stream is reset, the connection and its other streams live."""

    async def handler(head, stream):
        if head.path == "/bad":
            raise ValueError("no")
        await echo(head, stream)

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        good = peer.open()
        bad = peer.open([*REQUEST[:2], (b":path", b"/bad"), REQUEST[3]])
        await peer.flush()
        reset = await peer.wait_for(h2.events.StreamReset, stream_id=bad)
        assert reset.error_code == ErrorCodes.INTERNAL_ERROR
        peer.h2.send_data(good, b"x", end_stream=True)
        await peer.flush()
        await peer.wait_for(h2.events.StreamEnded, stream_id=good)
    assert "handler of /bad failed" in caplog.text


async def test_a_handler_that_forgets_to_answer():
    async def forget(_head, _stream):
        return

    async with serving(forget) as (ours, _server):
        peer = H2Peer(ours)
        peer.open()
        await peer.flush()
        assert (await peer.wait_for(h2.events.StreamReset)).error_code == ErrorCodes.INTERNAL_ERROR


@pytest.mark.parametrize("how", ["reset", "close", "garbage"])
async def test_a_handler_is_cancelled_when_its_client_goes(how):
    cancelled = trio.Event()

    async def handler(_head, _stream):
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        stream_id = peer.open()
        await peer.flush()
        await wait_all_tasks_blocked()
        if how == "reset":
            peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
            await peer.flush()
        elif how == "garbage":
            await ours.send_all(DataFrame(9, data=b"on no stream").serialize())
        else:
            await ours.aclose()
        await cancelled.wait()


async def test_what_a_stream_raises_when_it_is_over():
    errors = []

    async def handler(_head, stream):
        with trio.CancelScope(shield=True):
            try:
                await stream.receive_some()
            except StreamResetError as error:
                errors.append(error.error_code)
            for action in (lambda: stream.send_headers(RESPONSE), lambda: stream.reset(1)):
                try:
                    action()
                except StreamResetError as error:
                    errors.append(error.error_code)
            try:
                await stream.send_data(b"x")
            except StreamResetError as error:
                errors.append(error.error_code)

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        stream_id = peer.open()
        await peer.flush()
        await wait_all_tasks_blocked()
        peer.h2.reset_stream(stream_id, ErrorCodes.CANCEL)
        await peer.flush()
        await wait_all_tasks_blocked()
    assert errors == [ErrorCodes.CANCEL] * 3


async def test_data_behind_the_end_of_our_half_is_our_mistake():
    async def handler(_head, stream):
        stream.send_headers(RESPONSE, end_stream=True)
        with pytest.raises(StreamResetError, match="has ended"):
            await stream.send_data(b"x")

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        peer.open(end_stream=True)
        await peer.flush()
        await peer.wait_for(h2.events.StreamEnded)


# -- flow control ---------------------------------------------------------------------------------


async def test_a_handler_that_does_not_read_holds_back_its_own_stream_only():
    """The connection window is re-opened on receipt: 3 MiB pass beside a stream nobody reads."""

    async def handler(head, stream):
        if head.path == "/stuck":
            await trio.sleep_forever()
        size = len(await read_all(stream))
        stream.send_headers([*RESPONSE, (b"size", b"%d" % size)], end_stream=True)

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        stuck = peer.open([*REQUEST[:2], (b":path", b"/stuck"), REQUEST[3]])
        await peer.flush()
        await peer.wait_for(h2.events.SettingsAcknowledged)
        sent = 0
        while peer.h2.local_flow_control_window(stuck) >= 16_384:
            peer.h2.send_data(stuck, bytes(16_384))
            sent += 16_384
        await peer.flush()
        assert sent == Http2Limits().stream_window
        good, left = peer.open(), 3 * 1024 * 1024
        while left:
            size = min(peer.h2.local_flow_control_window(good), 16_384, left)
            if size:
                left -= size
                peer.h2.send_data(good, bytes(size), end_stream=not left)
                await peer.flush()
            else:
                await peer.receive()
        response = await peer.wait_for(h2.events.ResponseReceived, stream_id=good)
        assert (b"size", b"3145728") in response.headers
        assert peer.h2.local_flow_control_window(stuck) == 0


async def test_padding_is_given_back():
    """Padding counts against the windows and nobody takes it."""
    async with serving(echo) as (ours, _server):
        peer = H2Peer(ours)
        stream_id = peer.open()
        await peer.flush()
        await peer.wait_for(h2.events.SettingsAcknowledged)
        for _ in range(3000):
            while peer.h2.local_flow_control_window(stream_id) < 512:
                await peer.flush()
                await peer.receive()
            peer.h2.send_data(stream_id, b"x" * 256, pad_length=255)
        peer.h2.end_stream(stream_id)
        await peer.flush()
        while not any(isinstance(event, h2.events.StreamEnded) for event in peer.events):
            for event in peer.events:
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    peer.h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
                    event.flow_controlled_length = 0
            await peer.flush()
            await peer.receive()


@pytest.mark.parametrize("opener", ["stream", "connection", "settings"])
async def test_output_waits_for_the_window_and_goes_on(opener):
    size = 100_000

    async def handler(_head, stream):
        stream.send_headers(RESPONSE)
        await stream.send_data(bytes(size))
        stream.end(TRAILERS)

    async with serving(handler) as (ours, _server):
        peer = FramePeer(ours)
        stream_window = {"stream": 1000, "settings": 1000, "connection": 10**6}[opener]
        await peer.start({SettingsFrame.INITIAL_WINDOW_SIZE: stream_window})
        await peer.request(1, None, "END_STREAM")
        got = 0
        expected = min(stream_window, 65_535)
        while got < expected:
            got += len((await peer.receive_a(DataFrame)).data)
        assert got == expected
        if opener == "settings":
            await peer.send(SettingsFrame(0, settings={SettingsFrame.INITIAL_WINDOW_SIZE: 10**6}))
        elif opener == "stream":
            await peer.send(WindowUpdateFrame(1, window_increment=10**6))
        await peer.send(WindowUpdateFrame(0, window_increment=10**6))
        while got < size:
            got += len((await peer.receive_a(DataFrame)).data)
        assert "END_STREAM" in (await peer.receive_a(HeadersFrame)).flags


async def test_a_peer_that_grants_a_byte_at_a_time_is_cut(mock_clock):
    """D12: data dribble, CVE-2019-9511: frames made small by the window earn no window updates.

    The clock stands still, as budgets fill up with time.
    """

    async def handler(_head, stream):
        stream.send_headers(RESPONSE)
        await stream.send_data(bytes(100_000))

    async with serving(handler) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start({SettingsFrame.INITIAL_WINDOW_SIZE: 0})
        await peer.request(1, None, "END_STREAM")
        granted = 0
        with contextlib.suppress(trio.BrokenResourceError):
            while granted < 2000:
                await peer.send(WindowUpdateFrame(1, window_increment=1))
                await wait_all_tasks_blocked()
                granted += 1
        assert granted < 1000


async def test_a_peer_that_answers_each_message_with_updates_is_not():
    """grpcio sends two for each DATA frame."""

    async def handler(_head, stream):
        stream.send_headers(RESPONSE)
        for _ in range(2000):
            await stream.send_data(b"event")
            await wait_all_tasks_blocked()
        stream.end()

    async with serving(handler) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1, None, "END_STREAM")
        for _ in range(2000):
            await peer.receive_a(DataFrame)
            await peer.send(
                WindowUpdateFrame(0, window_increment=5), WindowUpdateFrame(1, window_increment=5)
            )


async def test_streams_take_turns():
    """Two large answers arrive interleaved, not one after the other."""
    both = trio.Event()
    waiting = 0

    async def handler(_head, stream):
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            both.set()
        await both.wait()
        stream.send_headers(RESPONSE)
        await stream.send_data(bytes(200_000))
        stream.end()

    async with serving(handler) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start({SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1})
        await peer.send(WindowUpdateFrame(0, window_increment=2**30))
        await peer.request(1, None, "END_STREAM")
        await peer.request(3, None, "END_STREAM")
        order = [(await peer.receive_a(DataFrame)).stream_id for _ in range(20)]
        assert set(order[8:12]) == {1, 3}


async def test_an_endless_window_does_not_fill_our_memory():
    """nginx announces 2 GiB: our own queue is what holds a sender back."""
    sent = 0

    async def handler(_head, stream):
        nonlocal sent
        stream.send_headers(RESPONSE)
        while True:
            await stream.send_data(bytes(10_000))
            sent += 10_000

    ours, theirs = lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Http2ServerConnection(theirs, handler).run)
        peer = FramePeer(ours)
        nursery.start_soon(peer.receive)
        await peer.start({SettingsFrame.INITIAL_WINDOW_SIZE: 2**31 - 1})
        await peer.send(WindowUpdateFrame(0, window_increment=2**30))
        await peer.request(1, None, "END_STREAM")
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    limits = Http2Limits()
    assert limits.send_buffer - 10_000 <= sent <= limits.send_buffer + 2 * 64 * 1024


async def test_a_large_answer_does_not_keep_the_server_from_others():
    """A sender of data at hand lets other tasks run once in 64 KiB."""
    turns = 0

    async def handler(_head, stream):
        stream.send_headers(RESPONSE)
        for _ in range(64):
            await stream.send_data(b"")
        stream.end()

    async def other():
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with serving(handler) as (ours, _server), trio.open_nursery() as nursery:
        peer = H2Peer(ours)
        peer.open(end_stream=True)
        nursery.start_soon(other)
        await peer.flush()
        await peer.wait_for(h2.events.StreamEnded)
        nursery.cancel_scope.cancel()
    assert turns > 1


# -- deadlines ------------------------------------------------------------------------------------


async def test_no_settings(autojump_clock):
    """D14: a preface and nothing more is cut after 10 s."""
    async with serving(hang) as (ours, _server):
        peer = FramePeer(ours)
        frames = await peer.rest()
        assert frames[-1].error_code == ErrorCodes.SETTINGS_TIMEOUT
        assert trio.current_time() == pytest.approx(10, abs=3)


@pytest.mark.parametrize(("asked", "patience"), [(True, 60), (False, 12)])
async def test_idle(autojump_clock, asked, patience):
    """D14: 60 s without a stream, whatever else the peer sends; 12 s before there was one."""
    async with serving(answer) as (ours, _server), trio.open_nursery() as nursery:
        peer = H2Peer(ours)
        if asked:
            peer.open(end_stream=True)
            await peer.wait_for(h2.events.StreamEnded)

        async def ping():
            while True:
                await trio.sleep(5)
                peer.h2.ping(b"12345678")
                await peer.flush()

        await peer.flush()
        nursery.start_soon(ping)
        started = trio.current_time()
        frame_peer = FramePeer(ours)
        goaway = await frame_peer.receive_a(GoAwayFrame)
        assert goaway.error_code == ErrorCodes.NO_ERROR
        assert trio.current_time() - started == pytest.approx(patience, abs=1)
        await frame_peer.rest()
        nursery.cancel_scope.cancel()


async def test_a_connection_with_an_open_stream_is_not_idle(autojump_clock):
    async with serving(hang) as (ours, _server):
        peer = H2Peer(ours)
        peer.open()
        await peer.flush()
        with trio.move_on_after(1000) as scope:
            while await peer.receive():
                pass
        assert scope.cancelled_caught


@pytest.mark.parametrize("limits", [Http2Limits(max_age=100, idle=math.inf), Http2Limits(max_requests=2)])
async def test_connections_are_recycled(autojump_clock, limits):
    """P22: h2 remembers 65,536 closed streams; old and busy connections are drained."""
    async with serving(answer, limits) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1, None, "END_STREAM")
        await peer.request(3, None, "END_STREAM")
        goaway = await peer.receive_a(GoAwayFrame)
        assert (goaway.last_stream_id, goaway.error_code) == (2**31 - 1, ErrorCodes.NO_ERROR)
        ping = await peer.receive_a(PingFrame)
        await peer.send(PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"]))
        assert (await peer.receive_a(GoAwayFrame)).last_stream_id == 3
        assert await peer.rest() == []


async def test_a_peer_that_does_not_read_is_cut_after_thirty_seconds(autojump_clock):
    """D14, P1: the only writer stalls, then the connection is gone."""
    ours, theirs = lockstep_stream_pair()
    with trio.fail_after(31):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(Http2ServerConnection(theirs, hang).run)
            peer = FramePeer(ours)
            nursery.start_soon(peer.start)


async def test_a_stream_whose_peer_grants_no_window_is_reset(autojump_clock):
    """D14: after two minutes its queue is given up; the handler is cancelled."""

    async def handler(_head, stream):
        stream.send_headers(RESPONSE)
        await stream.send_data(bytes(10**6))

    async with serving(handler) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1, None, "END_STREAM")
        reset = await peer.receive_a(RstStreamFrame)
        assert (reset.stream_id, reset.error_code) == (1, ErrorCodes.CANCEL)
        assert trio.current_time() == pytest.approx(120, abs=2)


@pytest.mark.parametrize("answers", [True, False])
async def test_keepalive(autojump_clock, answers):
    limits = Http2Limits(keepalive_interval=20, keepalive_timeout=10, idle=math.inf, first_request=math.inf)
    async with serving(hang, limits) as (ours, _server):
        peer = H2Peer(ours)
        await peer.flush()
        with trio.move_on_after(200) as scope:
            while await (peer.receive() if answers else ours.receive_some()):
                pass
        assert scope.cancelled_caught is answers
        if not answers:
            assert trio.current_time() == pytest.approx(30, abs=3)


# -- the graceful end -----------------------------------------------------------------------------


async def test_drain_serves_what_is_here_and_on_its_way(autojump_clock):
    """RFC 9113 section 6.8: two GOAWAYs, a PING between them; nothing is lost, later streams are refused."""
    go = trio.Event()

    async def handler(_head, stream):
        await go.wait()
        stream.send_headers(RESPONSE, end_stream=True)

    async with serving(handler) as (ours, server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1, None, "END_STREAM")
        await wait_all_tasks_blocked()
        server.drain()
        server.drain()
        assert (await peer.receive_a(GoAwayFrame)).last_stream_id == 2**31 - 1
        ping = await peer.receive_a(PingFrame)
        await peer.request(3, None, "END_STREAM")
        await peer.send(PingFrame(0, opaque_data=ping.opaque_data, flags=["ACK"]))
        assert (await peer.receive_a(GoAwayFrame)).last_stream_id == 3
        await peer.request(5, None, "END_STREAM")
        refused = await peer.receive_a(RstStreamFrame)
        assert (refused.stream_id, refused.error_code) == (5, ErrorCodes.REFUSED_STREAM)
        go.set()
        ended = [frame.stream_id for frame in await peer.rest() if isinstance(frame, HeadersFrame)]
        assert sorted(ended) == [1, 3]


async def test_drain_does_not_wait_for_a_ping_that_is_not_answered(autojump_clock):
    async with serving(hang) as (ours, server):
        peer = FramePeer(ours)
        await peer.start()
        await wait_all_tasks_blocked()
        server.drain()
        goaways = [frame.last_stream_id for frame in await peer.rest() if isinstance(frame, GoAwayFrame)]
        assert goaways == [2**31 - 1, 0]


async def test_a_client_that_goes_away_gets_its_answers(autojump_clock):
    async with serving(echo) as (ours, _server):
        peer = FramePeer(ours)
        await peer.start()
        await peer.request(1)
        await peer.send(GoAwayFrame(0, last_stream_id=0), DataFrame(1, data=b"x", flags=["END_STREAM"]))
        frames = await peer.rest()
        assert [frame.data for frame in frames if isinstance(frame, DataFrame)] == [b"x"]


async def test_cancelling_cuts_the_connection_and_its_handlers():
    cancelled = trio.Event()

    async def handler(_head, _stream):
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        peer.open()
        await peer.flush()
        await wait_all_tasks_blocked()
    assert cancelled.is_set()
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")


async def test_a_connection_that_breaks_while_we_write():
    failures = []

    async def handler(_head, stream):
        with trio.CancelScope(shield=True):
            await wait_all_tasks_blocked()
            try:
                stream.send_headers(RESPONSE)
                await stream.send_data(bytes(10**6))
            except Http2ConnectionLostError as error:
                failures.append(error)

    async with serving(handler) as (ours, _server):
        peer = H2Peer(ours)
        peer.open()
        await peer.flush()
        await wait_all_tasks_blocked()
        await ours.aclose()
        await wait_all_tasks_blocked()
    assert len(failures) == 1


async def test_we_stop_reading_from_a_peer_that_does_not_read_our_replies():
    """D12: what a peer makes us queue is bounded by 64 KiB and one read."""
    rates = {**DEFAULT_FRAME_RATES, FrameKind.PING: Rate(10**9, 0)}
    ours, theirs = lockstep_stream_pair()
    server = Http2ServerConnection(theirs, hang, Http2Limits(frame_rates=rates))
    sent = 0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        peer = FramePeer(ours)

        async def flood():
            nonlocal sent
            await peer.start()
            pings = PingFrame(0, opaque_data=b"12345678").serialize() * 100
            while True:
                await ours.send_all(pings)
                sent += len(pings)

        nursery.start_soon(flood)
        await wait_all_tasks_blocked()
        assert sent < 3 * 64 * 1024
        nursery.cancel_scope.cancel()
