# SPDX-License-Identifier: Apache-2.0
"""One request to an application: what arrives, what comes back, and what is said when nothing does."""

from __future__ import annotations

import json
from typing import cast

import attrs
import pytest
import trio
import trio.testing

from mezite.core.apps.app import App
from mezite.core.assertion.signer import AssertionTooLongError
from mezite.handlers.app_exchange import ExchangeTimes
from mezite.net.http1_client import request
from mezite.net.http1_wire import ClientGoneError
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.services.apps.dialing import AllDialsFailedError, DialAttempt, NoAgentsBoundError
from mezite.services.identity.identities import UserIdentity
from mezite.storage.errors import StorageError
from mezite.testing.self_signed import self_signed_pem
from tests.handlers.app_front import (
    GET,
    HOST,
    Ada,
    Site,
    make_app,
    open_site,
    read_all,
    read_until,
    saying,
)

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


def parts(raw: bytes) -> tuple[int, dict[bytes, bytes], bytes]:
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in fields.items()}, body


def error_of(raw: bytes) -> tuple[int, str]:
    status, _, body = parts(raw)
    return status, json.loads(body)["error"]["message"]


# -- what is passed on


async def test_a_request_and_its_response() -> None:
    seen: list[bytes] = []
    answer = (
        b"HTTP/1.1 203 Odd\r\nContent-Length: 2\r\nX-Own: 1\r\nContent-Encoding: gzip\r\nX-Mezite-User: x\r\n"
        b"\r\n\x1f\x8b"
    )
    async with open_site(saying(answer, seen=seen)) as site:
        site.state["decision_id"] = "d-1"
        raw = await site.ask(
            b"GET /a%2Fb?c=%20 HTTP/1.1\r\n" + HOST + b"x-mezite-user: root\r\nX_Mezite_User: root\r\n\r\n"
        )
    status, fields, body = parts(raw)
    assert (status, body) == (203, b"\x1f\x8b")
    assert (fields[b"x-own"], fields[b"content-encoding"]) == (b"1", b"gzip")
    assert b"x-mezite-user" not in fields
    lines = seen[0].split(b"\r\n")
    assert lines[:2] == [b"GET /a%2Fb?c=%20 HTTP/1.1", b"Host: wiki.apps.example"]
    assert lines[-4:-1] == [
        b"X-Forwarded-For: 203.0.113.9",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: wiki.apps.example",
    ]
    assert b"root" not in seen[0]
    record = site.last()
    assert (record.method, record.target, record.status) == ("GET", "/a%2Fb", 203)
    assert (record.bytes_sent, record.bytes_received, record.agent, record.error) == (2, 0, "node-1", "")
    assert (record.client_address, len(record.trace_id)) == ("203.0.113.9:5000", 32)
    assert (record.session_id, record.decision_id) == ("", "d-1")
    assert f"traceparent: 00-{record.trace_id}-".encode() in seen[0]


async def test_a_connection_serves_one_request_after_the_other() -> None:
    seen: list[bytes] = []
    async with open_site(saying(OK, OK, OK, seen=seen)) as site:
        for _ in range(3):
            assert (await site.ask()).endswith(b"hi")
        assert site.dialed.count == 1
    assert len(seen) == 3


async def test_the_path_of_the_uri_comes_first() -> None:
    seen: list[bytes] = []
    app = make_app("http://wiki.internal/base")
    async with open_site(saying(OK, seen=seen), app) as site:
        await site.ask(GET.replace(b"GET / ", b"GET /a?b "))
    assert seen[0].startswith(b"GET /base/a?b HTTP/1.1\r\nHost: wiki.apps.example\r\n")


CERT, KEY = self_signed_pem("wiki.internal")


async def test_tls_ends_at_the_application() -> None:
    """Verified by the hub, for the host of the URI; a certificate that is not believed is an error page."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        tls = TlsStream(stream, server_context(CERT, KEY, ["http/1.1"]), server_side=True)
        await tls.do_handshake()
        while True:
            await read_until(tls, b"\r\n\r\n")
            await tls.send_all(OK)

    trusting = make_app("https://wiki.internal", ca_pem=CERT.decode())
    async with open_site(serve, trusting) as site:
        for _ in range(2):
            assert (await site.ask()).endswith(b"hi")
        assert site.dialed.count == 1
        site.app = make_app("https://wiki.internal")
        status, message = error_of(await site.ask())
        assert (status, site.dialed.count) == (502, 2)
        assert "there is no TLS with wiki.internal:443" in message
        assert site.last().agent == "node-1"


async def test_rules_and_rewriting_of_one_application() -> None:
    seen: list[bytes] = []
    app = make_app(
        request_headers={"x-org": "acme", "accept": ""},
        response_headers={"server": ""},
        rewrite_location=True,
    )
    answer = (
        b"HTTP/1.1 302 Found\r\nLocation: http://10.0.3.12:3000/in\r\nServer: x\r\nContent-Length: 0\r\n\r\n"
    )
    async with open_site(saying(answer, seen=seen), app) as site:
        _, fields, _ = parts(await site.ask(GET.replace(b"\r\n\r\n", b":3080\r\nAccept: */*\r\n\r\n")))
    assert fields[b"location"] == b"https://wiki.apps.example:3080/in"
    assert b"server" not in fields
    assert b"x-org: acme" in seen[0]
    assert b"accept" not in seen[0].lower()


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
        (b"GET", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"),
    ],
)
async def test_answers_without_a_body(method: bytes, answer: bytes) -> None:
    async with open_site(saying(answer, OK)) as site:
        status, fields, body = parts(await site.ask(GET.replace(b"GET", method)))
        assert body == b""
        assert status == int(answer.rpartition(b"HTTP/1.1 ")[2][:3])
        assert fields.get(b"content-length") == (b"5" if b"5" in answer else None)
        assert (await site.ask()).endswith(b"hi")
        assert site.dialed.count == 1


@pytest.mark.parametrize("framing", [b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
async def test_bodies_go_up_framed_anew(framing: bytes) -> None:
    got: list[bytes] = []

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        got.append(await read_until(stream, b"\r\n\r\n"))
        end = b"0\r\n\r\n" if b"chunked" in framing else b"0123456789"
        got[0] = await read_until(stream, end, got[0])
        await stream.send_all(OK)

    body = b"0123456789"
    if b"chunked" in framing:
        body = b"4;x=y\r\n0123\r\n6\r\n456789\r\n0\r\nX-Mezite-User: root\r\n\r\n"
    async with open_site(serve) as site:
        raw = await site.ask(b"POST / HTTP/1.1\r\n" + HOST + framing + body)
        assert site.last().bytes_received == 10
    assert raw.endswith(b"hi")
    head, _, sent = got[0].partition(b"\r\n\r\n")
    assert framing.strip() in head
    assert b"root" not in got[0]  # D5: trailers are dropped
    assert sent.replace(b"4\r\n0123\r\n6\r\n", b"a\r\n0123") in (body, b"a\r\n0123456789\r\n0\r\n\r\n")


async def test_both_ways_at_once() -> None:
    """The response begins before the body has ended, and each piece arrives before the next one is sent."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        got = await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            got = await read_until(stream, b"%d;" % number, got)
            await stream.send_all(b"6\r\necho %d\r\n" % number)
        await stream.send_all(b"0\r\n\r\n")

    async with open_site(serve) as site, await site.connect() as browser:
        await browser.send_all(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 6\r\n\r\n")
        got = await read_until(browser, b"\r\n\r\n")
        for number in range(3):
            await browser.send_all(b"%d;" % number)
            got = await read_until(browser, b"echo %d" % number, got)


async def test_the_application_decides_about_100_continue() -> None:
    head = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    seen: list[bytes] = []

    async def willing(stream: trio.abc.Stream, _number: int) -> None:
        seen.append(await read_until(stream, b"\r\n\r\n"))
        await stream.send_all(b"HTTP/1.1 100 Continue\r\n\r\n")
        await read_until(stream, b"body")
        await stream.send_all(OK)

    async with open_site(willing) as site, await site.connect() as browser:
        await browser.send_all(head)
        assert (await read_until(browser, b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await browser.send_all(b"body")
        assert (await read_until(browser, b"hi")).startswith(b"HTTP/1.1 200 ")
    assert b"Expect: 100-continue" in seen[0]

    async with open_site(saying(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n")) as site:
        async with await site.connect() as browser:
            await browser.send_all(head)
            # Nothing asks for the body, and the connection ends: what follows would be the body or a request.
            assert parts(await read_all(browser))[0] == 417
        assert (site.last().bytes_received, len(site.proxy.pool)) == (0, 0)


async def test_a_server_that_knows_no_100_continue_gets_the_body(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_until(stream, b"body")
        await stream.send_all(OK)

    async with open_site(serve) as site, await site.connect() as browser:
        await browser.send_all(
            b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert (await read_until(browser, b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await browser.send_all(b"body")
        assert (await read_until(browser, b"hi")).startswith(b"HTTP/1.1 200 ")


async def test_a_refusal_before_the_body_has_ended() -> None:
    """The answer counts; the rest of the body is not waited for, and the connection serves nobody again."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig")

    async with open_site(serve) as site:
        async with await site.connect() as browser:
            await browser.send_all(
                b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1000000\r\n\r\n" + b"a" * 100
            )
            status, fields, body = parts(await read_all(browser))
            assert (status, body, fields[b"connection"]) == (413, b"big", b"close")
        assert len(site.proxy.pool) == 0


async def test_nothing_is_collected() -> None:
    """A browser that does not read stops the application, and an application that does not read stops the browser."""
    sent = 0

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        nonlocal sent
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        for _ in range(100):
            await stream.send_all(bytes(1_000_000))
            sent += 1

    async with open_site(serve) as site, await site.connect() as browser:
        await browser.send_all(GET)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert sent < 10


# -- when it goes wrong


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HELLO\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n",
    ],
)
async def test_no_usable_answer(answer: bytes) -> None:
    """D1, D10."""
    async with open_site(saying(answer)) as site:
        status, message = error_of(await site.ask(GET.replace(b"GET", b"POST")))
        assert status == 502
        assert message.startswith("agent node-1 reaches the application wiki, but got no usable response: ")
        assert message.endswith(f"(trace {site.last().trace_id})")
        assert (site.last().status, bool(site.last().error), len(site.proxy.pool)) == (502, True, 0)


async def test_an_answer_that_breaks_off_is_not_passed_on_as_whole() -> None:
    for answer in (
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ):
        async with open_site(saying(answer)) as site:
            raw = await site.ask()
            assert raw.startswith(b"HTTP/1.1 200 ")
            assert not raw.endswith(b"0\r\n\r\n")
            assert len(parts(raw)[2]) < 9
            assert site.last().error


@pytest.mark.parametrize("accept", [b"text/html,*/*;q=0.8", b"application/json"])
async def test_pages_say_which_hop_failed(accept: bytes) -> None:
    asked = GET.replace(b"\r\n\r\n", b"\r\nAccept: " + accept + b"\r\n\r\n")
    attempt = DialAttempt(agent="node-1", why="cannot connect to 10.0.3.12:3000: connection refused")
    failures: list[tuple[Exception, str]] = [
        (NoAgentsBoundError("wiki"), "mezctl apps add-agent wiki"),
        (AllDialsFailedError("wiki", (attempt,)), "agent node-1: cannot connect to 10.0.3.12:3000"),
    ]
    async with open_site(saying()) as site:
        for failure, words in failures:
            site.dialed.refusals.append(failure)
            raw = await site.ask(asked)
            status, fields, body = parts(raw)
            assert status == 502
            assert words in body.decode()
            assert site.last().trace_id in body.decode()
            kind = b"text/html" if b"html" in accept else b"application/json"
            assert fields[b"content-type"].startswith(kind)


async def test_a_disabled_application() -> None:
    async with open_site(saying(OK), attrs.evolve(make_app(), enabled=False)) as site:
        status, message = error_of(await site.ask())
        assert (status, site.dialed.count) == (503, 0)
        assert "the application wiki is disabled" in message


async def test_silence_is_an_answer_after_a_while(autojump_clock: trio.testing.MockClock) -> None:
    async def silent(stream: trio.abc.Stream, _number: int) -> None:
        await read_all(stream)

    async with open_site(silent, times=ExchangeTimes(head_seconds=20)) as site:
        status, message = error_of(await site.ask())
        assert status == 504
        assert "nothing came from it for 20 s" in message


async def test_a_stream_may_pause_but_not_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for _ in range(5):
            await trio.sleep(50)
            await stream.send_all(b"data: x\n\n")
        await trio.sleep_forever()

    async with open_site(serve, times=ExchangeTimes(head_seconds=20, idle_seconds=60)) as site:
        async with await site.connect() as browser:
            await browser.send_all(GET)
            began = trio.current_time()
            raw = await read_all(browser)
        assert raw.count(b"data: x") == 5
        assert 310 <= trio.current_time() - began < 320
        assert "60 s" in site.last().error


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_a_body_larger_than_the_application_takes(framing: str) -> None:
    """D15: told by its length before anything is sent, and counted otherwise."""
    seen: list[bytes] = []

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        seen.append(await read_all(stream))

    body = b"Content-Length: 6\r\n\r\nabcdef"
    if framing == "chunked":
        body = b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"
    async with open_site(serve, make_app(max_body=5)) as site:
        status, message = error_of(await site.ask(b"POST / HTTP/1.1\r\n" + HOST + body))
        assert status == 413
        assert message.startswith("the application wiki takes bodies of 5 bytes at most")
        assert site.dialed.count == (0 if framing == "length" else 1)
    assert all(not data.endswith(b"0\r\n\r\n") for data in seen)


# -- sending again


async def test_a_stale_connection_costs_nothing() -> None:
    """The server closed a kept connection just now: the request goes to another one."""

    async def serve(stream: trio.abc.Stream, number: int) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(OK)
        if number == 1:
            # It reads the next request's head and ends, as a server does whose time is up.
            await read_until(stream, b"\r\n\r\n")
        else:
            await read_all(stream)

    async with open_site(serve) as site:
        assert (await site.ask()).endswith(b"hi")
        assert (await site.ask()).endswith(b"hi")
        assert site.dialed.count == 2
        assert site.last().error == ""


@pytest.mark.parametrize(
    "again",
    [
        b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n",
        b"PUT / HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nBODY",
    ],
)
async def test_what_may_have_been_done_is_not_sent_again(again: bytes) -> None:
    """Neither what is not idempotent, nor what has lost a part of its body."""
    heads = 0

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        nonlocal heads
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(OK)
        await read_until(stream, b"BODY" if b"PUT" in again else b"\r\n\r\n")
        heads += 1

    async with open_site(serve) as site:
        await site.ask()
        assert error_of(await site.ask(again))[0] == 502
        assert (heads, site.dialed.count) == (1, 1)


async def test_a_request_that_could_not_be_sent_goes_to_another_connection() -> None:
    """Also one that must not be repeated: nobody has seen it."""
    async with open_site(saying(OK, OK)) as site:
        await site.ask()
        await site.dialed.ends[0].aclose()
        assert (await site.ask(GET.replace(b"GET", b"POST"))).endswith(b"hi")
        assert site.dialed.count == 2


async def test_attempts_are_counted() -> None:
    async with open_site(saying()) as site:
        assert error_of(await site.ask())[0] == 502
        assert site.dialed.count == 3


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        (b"Authorization: NTLM abc\r\n", OK),
        (b"", b"HTTP/1.1 401 No\r\nWWW-Authenticate: Negotiate\r\nContent-Length: 0\r\n\r\n"),
        (b"", OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")),
        (b"", OK + b"surplus"),
        (b"", b"HTTP/1.1 200 OK\r\n\r\nuntil the end"),
    ],
)
async def test_connections_that_serve_nobody_else(asked: bytes, answer: bytes) -> None:
    """Those that log a user in, and those whose next answer could be another one (D1)."""
    async with open_site(saying(answer)) as site:
        await site.ask(GET.replace(b"\r\n\r\n", b"\r\n" + asked + b"\r\n"))
        assert len(site.proxy.pool) == 0


async def test_a_kept_connection_to_an_unhealthy_agent_is_given_up() -> None:
    """When others are healthy: steady traffic would otherwise stay with the one that is not."""
    async with open_site(saying(OK, OK, OK)) as site:
        await site.ask()
        await site.ask()
        assert (site.dialed.count, len(site.proxy.pool)) == (1, 1)
        site.proxy.shuns = lambda app, agent: (app.name, agent) == ("wiki", "node-1")
        assert (await site.ask()).endswith(b"hi")
        assert site.dialed.count == 2


# -- ends


async def test_a_browser_that_goes_ends_the_request() -> None:
    gone = trio.Event()

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_until(stream, b"\r\n\r\n")
        try:
            await read_all(stream)
        finally:
            gone.set()

    async with open_site(serve) as site:
        async with await site.connect() as browser:
            await browser.send_all(GET)
            await trio.testing.wait_all_tasks_blocked()
        await gone.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert (site.last().status, site.last().error) == (0, "the client left before there was an answer")


async def test_a_request_that_is_cut_ends_on_both_sides() -> None:
    """E14: a lock ends what runs; neither side takes the part for the whole, and it is on record."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_until(stream, b"\r\n\r\n")
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await read_all(stream)
        ended.set()

    ended = trio.Event()
    async with open_site(serve) as site, await site.connect() as browser:
        await browser.send_all(GET)
        got = await read_until(browser, b"abc")
        site.scopes[0].cancel()
        got += await read_all(browser)
        assert not got.endswith(b"0\r\n\r\n")
        await ended.wait()
        assert (site.last().status, site.last().error) == (200, "broken off as the hub stopped")


@pytest.mark.parametrize(("reason", "status"), [("locked: theft", 403), ("", 0)])
async def test_a_request_that_is_cut_before_its_answer_has_not_succeeded(reason: str, status: int) -> None:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        await read_all(stream)

    async with open_site(serve) as site, await site.connect() as browser:
        site.state["why_cut"] = lambda: reason
        await browser.send_all(GET)
        await trio.testing.wait_all_tasks_blocked()
        site.scopes[0].cancel()
        await read_all(browser)
        expected = f"ended by the hub: {reason}" if reason else "broken off as the hub stopped"
        assert (site.last().status, site.last().error) == (status, expected)


async def test_a_uri_too_long_to_tell_who_asks() -> None:
    def fields(_app: App, _identity: UserIdentity) -> list[tuple[bytes, bytes]]:
        raise AssertionTooLongError("an assertion would be too long: give the application a shorter URI")

    async with open_site(saying(OK)) as site:
        site.identity = cast("UserIdentity", Ada())
        site.proxy.identity_fields = fields
        status, message = error_of(await site.ask())
        assert (status, site.dialed.count) == (502, 0)
        assert "wiki cannot be told who asks" in message
        assert "shorter URI" in message
        assert site.last().error in message


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (StorageError("the disk is full"), 503, "the hub failed: StorageError"),
        (ValueError("a bug"), 500, "the hub failed: ValueError"),
        (ClientGoneError("gone"), 0, "the client left before there was an answer"),
    ],
)
async def test_what_fails_in_the_hub_is_not_recorded_as_its_end(error, status, said) -> None:
    async with open_site(saying(OK)) as site:
        site.dialed.refusals.append(error)
        async with await site.connect() as browser:
            await browser.send_all(GET)
            await read_all(browser)
        assert (site.last().status, site.last().error) == (status, said)


async def test_many_users_of_one_pool() -> None:
    """Each gets the answer to its own question (D10)."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        got = b""
        while True:
            got = await read_until(stream, b"\r\n\r\n", got)
            head, _, got = got.partition(b"\r\n\r\n")
            path = head.split()[1]
            await trio.lowlevel.checkpoint()
            await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(path), path))

    async def use(site: Site, name: int) -> None:
        async with await site.connect() as browser:
            for number in range(10):
                target = f"/{name}/{number}"
                answer = await request(browser, "GET", target, (), host="wiki.apps.example")
                assert answer.body == target.encode()

    async with open_site(serve) as site:
        async with trio.open_nursery() as nursery:
            for name in range(8):
                nursery.start_soon(use, site, name)
        await trio.testing.wait_all_tasks_blocked()
        assert len(site.records) == 80
        assert site.dialed.count <= 8
