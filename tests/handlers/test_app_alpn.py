# SPDX-License-Identifier: Apache-2.0
"""Applications at ``https://`` that choose HTTP/2 (ALPN), and what may not come out of HTTP/2 into HTTP/1.1 (D3)."""

from __future__ import annotations

import subprocess
from collections.abc import Awaitable, Callable, Iterator

import attrs
import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import DataFrame, Frame, HeadersFrame, SettingsFrame

from mezite.net.byte_streams import relay
from mezite.net.http2_frame_gate import CONNECTION_PREFACE
from mezite.net.http2_request import RequestHead
from mezite.net.http2_server import Http2ServerConnection
from mezite.net.http2_stream import Http2Stream
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.ports import free_port
from mezite.testing.self_signed import self_signed_pem
from tests.handlers.app_front import GET, HOST, Ada, ServeApp, make_app, open_site, read_until
from tests.handlers.test_app_http import parts
from tests.handlers.test_app_http2 import H2C, echo
from tests.handlers.test_app_websocket import ASK, echoing
from tests.net.http2_peers import FramePeer

CERT, KEY = self_signed_pem("wiki.internal")
TLS_APP = make_app("https://wiki.internal", ca_pem=CERT.decode())
Handle = Callable[[RequestHead, Http2Stream], Awaitable[None]]


@attrs.define(eq=False)
class Chooser:
    """A server with TLS that speaks both, and notes what was chosen."""

    http2: Handle
    http1: ServeApp
    offers: list[str] = attrs.field(factory=lambda: ["h2", "http/1.1"])
    chosen: list[str | None] = attrs.field(factory=list)

    async def serve(self, stream: trio.abc.Stream, number: int) -> None:
        tls = TlsStream(stream, server_context(CERT, KEY, self.offers), server_side=True)
        await tls.do_handshake()
        self.chosen.append(tls.alpn)
        if tls.alpn == "h2":
            await Http2ServerConnection(tls, self.http2).run()
        else:
            await self.http1(tls, number)


async def in_http1(stream: trio.abc.Stream, _number: int) -> None:
    await read_until(stream, b"\r\n\r\n")
    await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nold")


async def test_a_websocket_takes_http_1_and_the_page_http_2() -> None:
    seen: list[bytes] = []
    server = Chooser(http2=echo, http1=echoing(seen))
    async with open_site(server.serve, TLS_APP) as site:
        assert parts(await site.ask())[0] == 203
        async with await site.connect() as browser:
            await browser.send_all(ASK + b"early")
            await read_until(browser, b"<early")
        assert server.chosen == ["h2", "http/1.1"]
        assert b"root" not in seen[0]


@pytest.mark.parametrize("offers", [["http/1.1"], []])
async def test_a_server_that_has_no_http_2(offers: list[str]) -> None:
    server = Chooser(http2=echo, http1=in_http1, offers=offers)
    async with open_site(server.serve, TLS_APP) as site:
        assert (await site.ask()).endswith(b"old")


async def test_an_application_that_wants_http_1_only() -> None:
    server = Chooser(http2=echo, http1=in_http1)
    app = make_app("https://wiki.internal", ca_pem=CERT.decode(), http1_only=True)
    async with open_site(server.serve, app) as site:
        assert (await site.ask()).endswith(b"old")
    assert server.chosen == ["http/1.1"]


async def test_a_request_that_has_to_be_in_http_1() -> None:
    """RFC 9113 section 7, HTTP_1_1_REQUIRED: asked for again, whatever the method, since nothing was done about it."""

    async def refuse(_head: RequestHead, stream: Http2Stream) -> None:
        stream.reset(ErrorCodes.HTTP_1_1_REQUIRED)

    server = Chooser(http2=refuse, http1=in_http1)
    async with open_site(server.serve, TLS_APP) as site:
        assert (await site.ask(GET.replace(b"GET", b"POST"))).endswith(b"old")
        assert server.chosen == ["h2", "http/1.1"]
        assert site.last().error == ""


async def test_a_request_that_was_refused_goes_elsewhere() -> None:
    """RFC 9113 section 8.7, REFUSED_STREAM; but not once its body has begun."""
    count = 0

    async def refuse_first(head: RequestHead, stream: Http2Stream) -> None:
        nonlocal count
        count += 1
        if count % 2:
            stream.reset(ErrorCodes.REFUSED_STREAM)
        else:
            await echo(head, stream)

    server = Chooser(http2=refuse_first, http1=in_http1)
    async with open_site(server.serve, TLS_APP) as site:
        assert parts(await site.ask(GET.replace(b"GET", b"POST")))[0] == 203
        assert server.chosen == ["h2", "h2"]
        with_body = b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + bytes(100_000)
        assert parts(await site.ask(with_body))[0] == 502


async def test_a_body_of_no_bytes_has_ended() -> None:
    server = Chooser(http2=echo, http1=in_http1)
    async with open_site(server.serve, TLS_APP) as site:
        for framing in (b"Content-Length: 0\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"):
            assert parts(await site.ask(b"POST / HTTP/1.1\r\n" + HOST + framing))[0] == 203


async def test_a_body_that_waits_to_be_wanted_is_taken_at_once() -> None:
    server = Chooser(http2=echo, http1=in_http1)
    async with open_site(server.serve, TLS_APP) as site, await site.connect() as browser:
        ask = b"POST / HTTP/1.1\r\n" + HOST + b"Expect: 100-continue\r\nContent-Length: 4\r\n\r\n"
        await browser.send_all(ask)
        got = await read_until(browser, b"\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 100 ")
        await browser.send_all(b"BODY")
        await read_until(browser, b"BODY", got)


# -- nginx


@pytest.fixture(scope="module")
def nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    (folder / "c.pem").write_bytes(CERT)
    (folder / "k.pem").write_bytes(KEY)
    (folder / "large").write_bytes(b"0123456789" * 300_000)
    (folder / "nginx.conf").write_text(NGINX.format(port=port, folder=folder))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "errors")]
    process = subprocess.Popen(command)
    try:
        yield port
    finally:
        process.kill()
        process.wait()


NGINX = """daemon off; master_process off; pid {folder}/pid; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 4;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} ssl http2; ssl_certificate {folder}/c.pem; ssl_certificate_key {folder}/k.pem;
    root {folder};
    location /say {{ return 200 "$server_protocol $scheme $host $http_x_mezite_user $request_length"; }}
  }}
}}
"""


def to(port: int) -> ServeApp:
    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        while True:
            try:
                server = await trio.open_tcp_stream("127.0.0.1", port)
                break
            except OSError:
                await trio.lowlevel.checkpoint()  # nginx is still starting
        await relay(stream, server)

    return serve


async def test_nginx_is_spoken_to_in_http_2(nginx: int) -> None:
    async with open_site(to(nginx), TLS_APP) as site:
        site.identity = Ada()  # type: ignore[assignment]
        for _ in range(2):
            status, _, body = parts(await site.ask(GET.replace(b"GET / ", b"GET /say ")))
            assert status == 200
            assert body.startswith(b"HTTP/2.0 https wiki.apps.example ada ")
        assert (site.dialed.count, len(site.proxy.pool)) == (1, 1)
        posted = await site.ask(b"POST /say HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\nBODY")
        assert b"HTTP/2.0" in posted
        head = await site.ask(GET.replace(b"GET / ", b"HEAD /large "))
        assert b"content-length: 3000000" in head.lower()
        # It has said goodbye after four: nobody notices.
        assert parts(await site.ask(GET.replace(b"GET / ", b"GET /large ")))[2] == b"0123456789" * 300_000
        assert site.dialed.count == 2
        assert (await site.ask(GET.replace(b"GET / ", b"GET /none "))).startswith(b"HTTP/1.1 404 ")


# -- what no response is


def headers(*fields: tuple[bytes, bytes], end: bool = False) -> Callable[[FramePeer], Frame]:
    def make(peer: FramePeer) -> Frame:
        flags = ["END_HEADERS", *(["END_STREAM"] if end else [])]
        return HeadersFrame(1, data=peer.encoder.encode(fields), flags=flags)

    return make


def data(body: bytes, *, end: bool = True) -> Callable[[FramePeer], Frame]:
    return lambda _peer: DataFrame(1, data=body, flags=["END_STREAM"] if end else [])


OK = (b":status", b"200")
FOUR = (b"content-length", b"4")


def in_frames(*makers: Callable[[FramePeer], Frame]) -> ServeApp:
    """HTTP/2 in the clear, whose answer to the first request is these frames."""

    async def serve(stream: trio.abc.Stream, _number: int) -> None:
        peer = FramePeer(stream)
        got = b""
        while len(got) < len(CONNECTION_PREFACE):
            got += await stream.receive_some()
        peer._buffer = got[len(CONNECTION_PREFACE) :]
        await peer.send(SettingsFrame(0))
        await peer.receive_a(HeadersFrame)
        await peer.send(*(make(peer) for make in makers))
        await peer.rest()

    return serve


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([headers(OK, (b"connection", b"close"), end=True)], id="connection"),
        pytest.param([headers(OK, (b"transfer-encoding", b"chunked"), end=True)], id="transfer-encoding"),
        pytest.param([headers(OK, (b"keep-alive", b"1"), end=True)], id="keep-alive"),
        pytest.param([headers(OK, (b"upgrade", b"websocket"), end=True)], id="upgrade"),
        pytest.param([headers(OK, (b"X-Upper", b"1"), end=True)], id="upper-case"),
        pytest.param([headers(OK, (b":path", b"/"), end=True)], id="a pseudo-field of requests"),
        pytest.param([headers(OK, (b":other", b"1"), end=True)], id="an unknown pseudo-field"),
        pytest.param([headers((b"a", b"b"), OK, end=True)], id="a late pseudo-field"),
        pytest.param([headers(OK, OK, end=True)], id="two statuses"),
        pytest.param([headers((b"a", b"b"), end=True)], id="no status"),
        pytest.param([headers((b":status", b"101"), end=True)], id="a switch"),
        pytest.param([headers((b":status", b"2000"), end=True)], id="a long status"),
        pytest.param([headers(OK, (b"a", b"b\r\nset-cookie: c=d"), end=True)], id="a line end"),
        pytest.param([headers(OK, (b"a", b"b\0"), end=True)], id="a NUL"),
        pytest.param([headers(OK, (b"a b", b"c"), end=True)], id="a space in a name"),
        pytest.param([headers(OK, (b"", b"c"), end=True)], id="an empty name"),
        pytest.param([headers(OK, FOUR, (b"content-length", b"4")), data(b"four")], id="two lengths"),
        pytest.param([headers(OK, (b"content-length", b"4, 4")), data(b"four")], id="a list of lengths"),
        pytest.param([headers(OK, (b"content-length", b"+4")), data(b"four")], id="a signed length"),
        pytest.param([headers(OK, FOUR, end=True)], id="a length and no body"),
        pytest.param([data(b"four")], id="a body without a head"),
    ],
)
async def test_heads_that_no_response_has(frames: list[Callable[[FramePeer], Frame]]) -> None:
    async with open_site(in_frames(*frames), H2C) as site:
        raw = await site.ask(GET.replace(b"GET", b"POST"))
        assert raw.startswith((b"HTTP/1.1 502 ", b"HTTP/1.1 200 "))
        if raw.startswith(b"HTTP/1.1 200 "):
            # The head was out when it turned out that the body is missing: the connection ends before its time.
            assert b"content-length: 4\r\n" in raw.lower()
            assert raw.endswith(b"\r\n\r\n")
        assert site.last().error
        assert len(site.proxy.pool) == 0


@pytest.mark.parametrize(
    "frames",
    [
        pytest.param([headers(OK, FOUR), data(b"two")], id="short"),
        pytest.param([headers(OK, FOUR), data(b"fourHTTP/1.1 200 OK\r\n")], id="long"),
        pytest.param([headers(OK, FOUR), data(b"four", end=False), data(b"more")], id="long, in two"),
        pytest.param(
            [headers(OK, FOUR), data(b"two", end=False), headers((b"a", b"b"), end=True)], id="trailers"
        ),
    ],
)
async def test_bodies_of_another_length_than_told(frames: list[Callable[[FramePeer], Frame]]) -> None:
    """What would be the next response to a browser that counts."""
    async with open_site(in_frames(*frames), H2C) as site:
        raw = await site.ask()
        _, _, body = raw.partition(b"\r\n\r\n")
        assert raw.startswith(b"HTTP/1.1 502 ") or body in (b"", b"two", b"four")
        assert b"HTTP/1.1 200 OK" not in body
        assert site.last().error
        assert len(site.proxy.pool) == 0


@pytest.mark.parametrize("status", [b"204", b"304"])
async def test_a_body_where_none_may_be(status: bytes) -> None:
    frames = [headers((b":status", status)), data(b"HTTP/1.1 200 OK\r\n\r\n")]
    async with open_site(in_frames(*frames), H2C) as site:
        assert b"HTTP/1.1 200 OK" not in await site.ask()
        assert "no usable response" in site.last().error


async def test_a_head_may_tell_a_length() -> None:
    async with open_site(in_frames(headers(OK, FOUR, end=True)), H2C) as site:
        raw = await site.ask(GET.replace(b"GET", b"HEAD"))
        assert b"content-length: 4" in raw.lower()
        assert site.last().error == ""
    not_modified = headers((b":status", b"304"), FOUR, end=True)
    async with open_site(in_frames(not_modified), H2C) as site, await site.connect() as browser:
        await browser.send_all(GET)
        assert (await read_until(browser, b"\r\n\r\n")).startswith(b"HTTP/1.1 304 ")
        assert site.last().error == ""


async def test_an_interim_response_is_not_the_response() -> None:
    frames = [headers((b":status", b"103"), (b"link", b"</a>")), headers(OK), data(b"four")]
    async with open_site(in_frames(*frames), H2C) as site:
        assert b"four" in await site.ask()


async def test_trailers_go() -> None:
    """D5."""
    trailers = headers((b"x-mezite-user", b"root"), (b"set-cookie", b"a=b"), end=True)
    async with open_site(in_frames(headers(OK), data(b"four", end=False), trailers), H2C) as site:
        raw = await site.ask()
        assert b"four" in raw
        assert b"root" not in raw
        assert b"a=b" not in raw


async def test_heads_may_be_as_long_as_in_http_1() -> None:
    long = headers(OK, (b"content-security-policy", b"a" * 15_000))
    async with open_site(in_frames(long, data(b"four")), H2C) as site:
        assert b"four" in await site.ask()
