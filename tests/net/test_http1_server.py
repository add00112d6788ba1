# SPDX-License-Identifier: Apache-2.0
import contextlib
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import quart
import quart_trio
import trio
import trio.testing

from mezite.core.http1.request_head import MAX_HEAD_BYTES
from mezite.net.asgi_types import ASGIApp, Message, Receive, Scope, Send
from mezite.net.byte_streams import PushbackStream
from mezite.net.http1_client import Response, request
from mezite.net.http1_limits import DrainSignal, HostRules, Http1Limits, RulesOf
from mezite.net.http1_request import REQUEST, RequestFacts
from mezite.net.http1_server import serve_http1
from mezite.testing.cancellation_sweep import cancel_points
from mezite.testing.fault_stream import FaultPlan, FaultStream
from mezite.testing.memory_network import PIPE_BYTES, MemoryNetwork, MemoryStream

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    body = f"{scope['method']} {scope['path']}".encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while (message := await receive())["type"] == "http.request":
        body += message["body"]
        if not message["more_body"]:
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    await send({"type": "http.response.body"})


async def read_then_hello(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive())["more_body"]:
        pass
    await hello(scope, receive, send)


@attrs.define(eq=False)
class Client:
    stream: MemoryStream
    server: MemoryStream
    drain: DrainSignal
    ended: trio.Event
    nursery: trio.Nursery

    async def raw(self, data: bytes) -> bytes:
        """Send and read until the server ends the connection."""
        await self.stream.send_all(data)
        return await self.rest()

    async def rest(self) -> bytes:
        got = bytearray()
        while data := await self.stream.receive_some():
            got += data
        return bytes(got)

    async def get(self, target: str = "/", method: str = "GET", body: bytes = b"") -> Response:
        return await request(self.stream, method, target, (), body, host="h")


@asynccontextmanager
async def serving(
    app: ASGIApp, limits: Http1Limits | None = None, rules_of: RulesOf | None = None
) -> AsyncIterator[Client]:
    async with (network := MemoryNetwork()).listen("hub:80") as listener:
        ends = await network.dial("hub:80"), await listener.accept()
    async with trio.open_nursery() as nursery:
        client = Client(*ends, DrainSignal(), trio.Event(), nursery)

        @nursery.start_soon
        async def serve() -> None:
            await serve_http1(
                PushbackStream(client.server),
                app,
                scheme="http",
                client="192.0.2.1:1000",
                server="[::1]:80",
                limits=limits,
                drain=client.drain,
                rules_of=rules_of,
            )
            assert client.server.closed
            client.ended.set()

        yield client
        await client.stream.aclose()
        with trio.fail_after(30):
            await client.ended.wait()


def status_and_error(raw: bytes) -> tuple[int, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert b"Connection: close" in head
    return int(head.split()[1]), json.loads(body)["error"]


# -- what works


async def test_the_scope_of_a_request() -> None:
    seen: list[Scope] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await hello(scope, receive, send)

    async with serving(look) as client:
        await client.get("/a%20b/%C3%A4?x=%2f&y")
    (scope,) = seen
    assert (scope["type"], scope["method"], scope["scheme"], scope["http_version"]) == (
        "http",
        "GET",
        "http",
        "1.1",
    )
    assert (scope["path"], scope["raw_path"]) == ("/a b/\u00e4", b"/a%20b/%C3%A4")
    assert scope["query_string"] == b"x=%2f&y"
    assert (scope["client"], scope["server"]) == (("192.0.2.1", 1000), ("::1", 80))
    assert scope["headers"] == [(b"host", b"h")]


async def test_a_connection_serves_many_requests() -> None:
    async with serving(echo) as client:
        for size in (0, 1, 70_000, 3):
            body = random.Random(size).randbytes(size)
            response = await client.get("/", "POST", body)
            assert (response.status, response.body, response.keep_alive) == (200, body, True)
            assert response.header(b"transfer-encoding") == b"chunked"
            assert response.header(b"date") is not None


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving(hello) as client:
        answers = await client.raw(
            b"GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
            b"GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        )
    assert [answers.index(text) for text in (b"GET /1", b"POST /2", b"GET /3")] == sorted(
        answers.index(text) for text in (b"GET /1", b"POST /2", b"GET /3")
    )
    assert answers.count(b"HTTP/1.1 200") == 3
    assert b"GET /3" in answers


@pytest.mark.parametrize("seed", range(5))
async def test_any_split_gives_the_same_answers(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    data = b"POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc" + GET.replace(b"/ ", b"/x ")
    async with serving(read_then_hello) as client:
        faulty = FaultStream(client.stream, FaultPlan(split=1.0, max_piece=5), random.Random(seed))
        await faulty.send_all(data)
        await faulty.send_eof()
        answers = await client.rest()
    assert answers.count(b"HTTP/1.1 200") == 2
    assert b"POST /2" in answers
    assert answers.endswith(b"GET /x")


async def test_chunked_bodies_are_read_and_end_the_connection() -> None:
    async with serving(echo) as client:
        answer = await client.raw(
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + GET
        )
    assert b"abc" in answer
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_the_client_may_ask_for_the_end(version: bytes) -> None:
    async with serving(echo) as client:
        answer = await client.raw(b"GET / HTTP/" + version + b"\r\nHost: h\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
async def test_responses_without_a_body(method: str, status: int) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"gone"})

    async with serving(app) as client:
        for _ in range(2):
            response = await client.get("/", method)
            assert (response.status, response.body) == (status, b"")


async def test_expect_100_continue() -> None:
    async with serving(echo) as client:
        await client.stream.send_all(
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-Continue\r\n\r\n"
        )
        assert (await client.stream.receive_some()).startswith(b"HTTP/1.1 100")
        await client.stream.send_all(b"abc")
        await client.stream.send_eof()
        assert b"abc" in await client.rest()


async def test_hop_by_hop_fields_of_the_application_are_ours_to_write() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"Connection", b"upgrade"), (b"Upgrade", b"x"), (b"X-Own", b"1"), (b"Date", b"now")]
        await send({"type": "http.response.start", "status": 299, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with serving(app) as client:
        response = await client.get()
    assert response.status == 299
    assert dict(response.headers) == {b"x-own": b"1", b"date": b"now", b"transfer-encoding": b"chunked"}


# -- the gate and the limits


@pytest.mark.parametrize(
    ("raw", "status", "words"),
    [
        (b"GET / HTTP/1.1\n\n", 400, "bare line feed"),
        (b"GET http://x/ HTTP/1.1\r\nHost: h\r\n\r\n", 400, "target"),
        (b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505, "HTTP/1.1"),
        (b"A" * (MAX_HEAD_BYTES + 1), 431, "longer"),
        (
            b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
            "both",
        ),
        (b"CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", 405, "CONNECT"),
        (b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405, "TRACE"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048577\r\n\r\n", 413, "1048576"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nExpect: the-worst\r\n\r\n", 417, "100-continue"),
        (
            b"GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\r\n",
            426,
            "version of WebSocket spoken here is 13",
        ),
    ],
)
async def test_what_is_refused_and_how(raw: bytes, status: int, words: str) -> None:
    """D1: one answer in JSON, then the connection ends, and nothing after it is read as a request."""
    async with serving(hello) as client:
        answered, error = status_and_error(await client.raw(raw + GET))
    assert answered == status
    assert words in error


@pytest.mark.parametrize(
    "path",
    ["//", "/a//b", "/.", "/a/../b", "/%2e%2e/b", "/a%2fb", "/a%2Fb", "/a%5cb", "/a%00", "/%ff", "/%0a"],
)
async def test_paths_that_can_be_read_in_two_ways_are_refused(path: str) -> None:
    """D8."""
    async with serving(hello) as client:
        response = await client.get(path)
    assert response.status == 400


@pytest.mark.parametrize(
    "body", [b"3\r\nabcde", b"x\r\n", b"-1\r\n", b"0x1\r\na\r\n", b"3\nabc\r\n0\r\n\r\n", b"\r\n\r\n"]
)
async def test_malformed_chunks(body: bytes) -> None:
    async with serving(echo) as client:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        await client.stream.send_all(head)
        await trio.testing.wait_all_tasks_blocked()
        answered, error = status_and_error(await client.raw(body + b"\r\n\r\n"))
    assert (answered, error) == (400, "the request body is malformed")


async def test_malformed_chunks_that_come_with_the_head() -> None:
    async with serving(echo) as client:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        assert status_and_error(await client.raw(head + b"x\r\n\r\n"))[0] == 400


async def test_a_chunked_body_over_the_cap() -> None:
    """D15: a body whose length nobody announced."""
    async with serving(echo, Http1Limits(body_bytes=100)) as client:
        head = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
        answered, error = status_and_error(await client.raw(head + b"65\r\n" + bytes(101) + b"\r\n"))
    assert (answered, error) == (413, "the request body is larger than 100 bytes")


async def test_a_client_that_dribbles_its_head(autojump_clock: trio.testing.MockClock) -> None:
    """D14: slow header."""
    async with serving(hello) as client:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def dribble() -> None:
                with contextlib.suppress(trio.BrokenResourceError):
                    for byte in GET * 100:
                        await client.stream.send_all(bytes([byte]))
                        await trio.sleep(1)

            answered, _ = status_and_error(await client.rest())
        assert answered == 408
        assert trio.current_time() - start < 30


async def test_a_silent_client_is_let_go_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(hello) as client:
        start = trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - start == pytest.approx(10)


async def test_a_slow_body_is_cut_and_an_honest_one_is_not(autojump_clock: trio.testing.MockClock) -> None:
    """D14: slow body; the average counts, not each pause."""

    async def send_body(client: Client, piece: int) -> bytes:
        await client.stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n")
        try:
            for _ in range(0, 20000, piece):
                await client.stream.send_all(bytes(piece))
                await trio.sleep(1)
            await client.stream.send_eof()
        except trio.BrokenResourceError:
            pass
        return await client.rest()

    async with serving(echo) as client:
        assert (await send_body(client, 2000)).startswith(b"HTTP/1.1 200")
    async with serving(echo) as client:
        start = trio.current_time()
        answered, error = status_and_error(await send_body(client, 100))
        assert (answered, "1024 bytes a second" in error) == (408, True)
        assert trio.current_time() - start < 30


async def test_a_client_that_does_not_read_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    """D14: slow reader."""
    failures: list[BaseException] = []

    async def flood(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        except trio.BrokenResourceError as error:
            failures.append(error)
            raise

    async with serving(flood) as client:
        await client.stream.send_all(GET)
        start = trio.current_time()
        await client.ended.wait()
        assert trio.current_time() - start == pytest.approx(15)
    assert "does not read" in str(failures[0])


async def test_a_slow_but_steady_reader_gets_everything(autojump_clock: trio.testing.MockClock) -> None:
    size = 4 * PIPE_BYTES

    async def big(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(size)})

    async with serving(big) as client:
        await client.stream.send_all(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        got = 0
        while data := await client.stream.receive_some(PIPE_BYTES // 2):
            got += len(data)
            await trio.sleep(10)
        assert got > size


async def test_a_client_that_takes_a_byte_now_and_then_is_cut(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """D14: slow reader of many small responses, none of which is stalled for long."""

    async def small(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(4000)})

    async with serving(small) as client:
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.stream.send_all, GET * 500)
            with contextlib.suppress(trio.BrokenResourceError):
                while await client.stream.receive_some(300):
                    await trio.sleep(1)
                    if client.ended.is_set():
                        break
            nursery.cancel_scope.cancel()
        await client.ended.wait()
    # Fifteen seconds are free, and 300 bytes a second earn some more.
    assert trio.current_time() - start < 35


async def test_idle_connections_end(autojump_clock: trio.testing.MockClock) -> None:
    async with serving(hello) as client:
        await client.get()
        start = trio.current_time()
        assert await client.rest() == b""
        assert trio.current_time() - start == pytest.approx(60)


async def test_a_connection_serves_a_bounded_number_of_requests() -> None:
    async with serving(hello, Http1Limits(max_requests=3)) as client:
        assert [(await client.get()).keep_alive for _ in range(3)] == [True, True, False]
        assert await client.rest() == b""


# -- draining


async def test_draining_ends_idle_connections_at_once() -> None:
    async with serving(hello) as client:
        await client.get()
        await trio.testing.wait_all_tasks_blocked()
        client.drain.start()
        assert await client.rest() == b""


async def test_draining_lets_the_current_request_end() -> None:
    release = trio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await release.wait()
        await hello(scope, receive, send)

    async with serving(wait) as client:
        await client.stream.send_all(GET + GET)
        await trio.testing.wait_all_tasks_blocked()
        client.drain.start()
        release.set()
        answer = await client.rest()
    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"connection: close" in answer.lower()


async def test_a_drain_that_began_while_answering_ends_the_wait_for_the_next() -> None:
    async def drain_late(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        client.drain.start()

    async with serving(drain_late) as client:
        assert (await client.get()).keep_alive
        assert await client.rest() == b""


# -- applications that misbehave


async def returns_nothing(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def raises(scope: Scope, receive: Receive, send: Send) -> None:
    raise LookupError("from the application")


async def raises_two(scope: Scope, receive: Receive, send: Send) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises, scope, receive, send)
        nursery.start_soon(raises, scope, receive, send)


async def splits_the_response(scope: Scope, receive: Receive, send: Send) -> None:
    headers = [(b"x", b"a\r\nSet-Cookie: b")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def sends_body_first(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.body", "body": b"x"})


async def sends_a_push(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.push", "path": "/", "headers": []})


@pytest.mark.parametrize(
    "app", [returns_nothing, raises, raises_two, splits_the_response, sends_body_first, sends_a_push]
)
async def test_an_application_that_fails_before_its_response(
    app: ASGIApp, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(app) as client:
        assert status_and_error(await client.raw(GET)) == (500, "internal error")
    assert any(record.levelno == logging.ERROR for record in caplog.records)


async def truncates(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
    await send({"type": "http.response.body", "body": b"12345", "more_body": True})


async def starts_twice(scope: Scope, receive: Receive, send: Send) -> None:
    await truncates(scope, receive, send)
    await truncates(scope, receive, send)


async def ends_early(scope: Scope, receive: Receive, send: Send) -> None:
    await truncates(scope, receive, send)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@pytest.mark.parametrize("app", [truncates, starts_twice, ends_early])
async def test_an_application_that_fails_within_its_response(app: ASGIApp) -> None:
    """The client must be able to tell a part from the whole."""
    async with serving(app) as client:
        answer = await client.raw(GET + GET)
    assert answer.endswith(b"12345")
    assert answer.count(b"HTTP/1.1") == 1


async def test_an_application_that_goes_on_after_its_response() -> None:
    late: list[Any] = []

    async def background(scope: Scope, receive: Receive, send: Send) -> None:
        await hello(scope, receive, send)
        late.append(await receive())
        late.append(await receive())
        try:
            await send({"type": "http.response.body", "body": b"more"})
        except RuntimeError as error:
            late.append(str(error))

    async with serving(background) as client:
        assert (await client.get()).keep_alive
        assert (await client.get()).body == b"GET /"
    assert [m["type"] for m in late[:2]] == ["http.request", "http.disconnect"]
    assert "none can be" in late[2]


async def test_a_body_that_nobody_reads_ends_the_connection() -> None:
    async with serving(hello) as client:
        answer = await client.raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 500000\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in answer.lower()


# -- clients that go away


async def test_a_client_that_leaves_during_a_long_poll_is_noticed() -> None:
    """P23."""
    seen: list[Message] = []

    async def poll(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(await receive())
        seen.append(await receive())

    async with serving(poll) as client:
        await client.stream.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        await client.stream.aclose()
        await client.ended.wait()
    assert [m["type"] for m in seen] == ["http.request", "http.disconnect"]


async def test_a_long_poll_ends_with_its_response_and_keeps_what_came_meanwhile() -> None:
    async def poll(scope: Scope, receive: Receive, send: Send) -> None:
        async def wait_for_end() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_end)
            await trio.testing.wait_all_tasks_blocked()
            await client.stream.send_all(GET.replace(b"/ ", b"/next "))
            await trio.testing.wait_all_tasks_blocked()
            await hello(scope, receive, send)

    async def first_polls(scope: Scope, receive: Receive, send: Send) -> None:
        await (hello if scope["path"] == "/next" else poll)(scope, receive, send)

    async with serving(first_polls) as client:
        await client.stream.send_all(GET)
        got = b""
        while b"/next" not in got:
            got += await client.stream.receive_some()
        assert got.count(b"HTTP/1.1 200") == 2


async def test_a_client_that_pipelines_without_end_is_not_read_without_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def never(scope: Scope, receive: Receive, send: Send) -> None:
        while True:
            await receive()

    async with serving(never) as client:
        await client.stream.send_all(GET)
        with trio.move_on_after(5) as scope:
            await client.stream.send_all(bytes(2 * PIPE_BYTES))
        assert scope.cancelled_caught
        client.nursery.cancel_scope.cancel()


async def test_a_body_that_ends_early() -> None:
    seen: list[str] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "http.request":
            seen.append(message["body"].decode())
        seen.append(message["type"])

    async with serving(look) as client:
        await client.stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc")
        await client.stream.send_eof()
        assert await client.rest() == b""
    assert seen == ["abc", "http.disconnect"]


async def test_a_reset_at_every_point_of_a_request_is_survived() -> None:
    async with serving(echo) as client:
        await client.stream.send_all(GET[:5])
        client.server._link.reset()
        await client.ended.wait()


async def test_cancelling_the_server_at_every_await_closes_the_stream() -> None:
    for point in cancel_points():
        async with (network := MemoryNetwork()).listen("hub:80") as listener:
            stream, server = await network.dial("hub:80"), await listener.accept()
        await stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        await stream.send_eof()

        async def serve(server: MemoryStream = server) -> None:
            await serve_http1(server, echo, scheme="https", client="unknown:0", server="unknown:0")

        await point.run(serve)
        assert server.closed


# -- a real framework


def quart_app() -> quart_trio.QuartTrio:
    app = quart_trio.QuartTrio(__name__)

    @app.get("/hello/<name>")
    async def greet(name: str) -> dict[str, str]:
        return {"hello": name, "ip": quart.request.remote_addr or ""}

    @app.post("/length")
    async def length() -> str:
        return str(len(await quart.request.get_data()))

    @app.post("/ignore")
    async def ignore() -> str:
        return "ignored"

    @app.get("/stream")
    async def stream() -> Any:
        async def pieces() -> AsyncIterator[bytes]:
            for number in range(5):
                yield b"%d," % number

        return pieces()

    @app.get("/fail")
    async def fail() -> str:
        raise LookupError("from the view")

    return app


async def test_a_quart_trio_application() -> None:
    app: Callable[..., Awaitable[None]] = quart_app()
    async with serving(app) as client:
        response = await client.get("/hello/w%C3%B6rld")
        assert json.loads(response.body) == {"hello": "w\u00f6rld", "ip": "192.0.2.1"}
        assert (await client.get("/length", "POST", bytes(300_000))).body == b"300000"
        assert (await client.get("/ignore", "POST", b"small")).keep_alive
        assert (await client.get("/stream")).body == b"0,1,2,3,4,"
        assert (await client.get("/fail")).status == 500
        assert (await client.get("/nowhere")).status == 404
        assert (await client.get("/hello/x", "DELETE")).status == 405
        assert (await client.get("/hello/x", "HEAD")).body == b""


# -- rules of hosts, and what is told beyond ASGI


async def test_rules_are_the_hosts_own() -> None:
    """A name below the applications' domain has other limits on the same connection, and looser paths (D8)."""
    roomy = HostRules(limits=Http1Limits(body_bytes=1 << 40), plain_paths=False)
    own = HostRules(limits=Http1Limits(body_bytes=2))
    seen: list[str] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["path"])
        await read_then_hello(scope, receive, send)

    async with serving(look, rules_of=lambda host: roomy if host == b"app" else own) as client:
        body = b"12345"
        for target in ("/a%2Fb", "//a", "/a%5cb"):
            assert (await request(client.stream, "POST", target, (), body, host="app")).status == 200
        answer = await client.raw(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n12345")
    assert seen == ["/a/b", "//a", "/a\\b"]
    assert status_and_error(answer) == (413, "the request body is larger than 2 bytes")


@pytest.mark.parametrize("target", [b"/a/%2e%2e/b", b"/../a", b"/%00", b"/%7f", b"/%ff", b"/%2"])
async def test_what_no_path_may_have(target: bytes) -> None:
    """D8."""
    async with serving(hello, rules_of=lambda _host: HostRules(plain_paths=False)) as client:
        assert (
            status_and_error(await client.raw(b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n"))[0] == 400
        )


@pytest.mark.parametrize(
    ("fields", "facts"),
    [
        (b"", RequestFacts(content_length=None, chunked=False, expects_continue=False)),
        (
            b"Expect: 100-continue\r\n",
            RequestFacts(content_length=None, chunked=False, expects_continue=False),
        ),
        (b"Content-Length: 0\r\n", RequestFacts(content_length=0, chunked=False, expects_continue=False)),
        (
            b"Content-Length: 3\r\nExpect: 100-continue\r\n",
            RequestFacts(content_length=3, chunked=False, expects_continue=True),
        ),
        (
            b"Transfer-Encoding: chunked\r\n",
            RequestFacts(content_length=None, chunked=True, expects_continue=False),
        ),
    ],
)
async def test_how_a_body_comes_is_told(fields: bytes, facts: RequestFacts) -> None:
    seen: list[RequestFacts] = []

    async def look(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"][REQUEST])
        await hello(scope, receive, send)

    async with serving(look) as client:
        await client.stream.send_all(b"POST / HTTP/1.1\r\nHost: h\r\n" + fields + b"\r\n")
        await client.stream.send_eof()
        await client.rest()
    assert seen == [facts]
    assert facts.has_body == (b"h: 3" in fields or b"chunked" in fields)
