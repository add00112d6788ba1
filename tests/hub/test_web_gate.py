# SPDX-License-Identifier: Apache-2.0
"""A hostile client on raw sockets at the web port of a whole hub: threats D1 to D9, D13 and D14, row by row."""

from __future__ import annotations

import json
import re
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest
import trio

from mezite.config.schema import ProxyConfig
from mezite.net.dialer import dial
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsStream
from tests.handlers.peers import read_all
from tests.hub.keypairs import certificate, ecdsa_key, key_pem, write_pair
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub

PING = b"/v1/webapi/ping"
FOLLOWING = b"GET /v1/webapi/ping HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
STATUS_LINE = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")

PROXY = ProxyConfig(
    listen_addr=ANYWHERE,
    ssh_listen_addr=ANYWHERE,
    tunnel_listen_addr=ANYWHERE,
    tls_mode="off",
    apps_domain="apps.example.com",
    trusted_ip_header="X-Forwarded-For",
    trusted_ip_header_cidrs=(ip_network("127.0.0.2/32"),),
)


@attrs.frozen
class Row:
    """One request, and what may come of it. Another request follows on the same connection."""

    threat: str
    request: bytes
    statuses: tuple[int, ...]
    """of all answers on the connection, in order"""


def get(*fields: bytes, target: bytes = PING, host: bytes = b"localhost", method: bytes = b"GET") -> bytes:
    lines = [method + b" " + target + b" HTTP/1.1", b"Host: " + host, *fields, b"", b""]
    return b"\r\n".join(lines)


def post(*fields: bytes, body: bytes = b"") -> bytes:
    return get(b"Content-Type: application/json", *fields, target=b"/v1/webapi/login", method=b"POST") + body


LOGIN = b'{"username": "nobody", "password": "guess"}'
SMUGGLED = b"GET /v1/webapi/logout HTTP/1.1\r\nHost: localhost\r\n\r\n"
LENGTH = b"Content-Length: " + str(len(LOGIN)).encode()
CHUNKED = b"Transfer-Encoding: chunked"
WEIRD = (b"\x0b", b"\x0c", b"\x85", b"\xa0", b"\x00", b"\x7f")

ROWS = (
    # A doubt about where a message ends: refused, and nothing of the rest is read as a request.
    Row("D1 CL.TE", post(LENGTH, CHUNKED, body=b"0\r\n\r\n" + SMUGGLED), (400,)),
    Row("D1 TE.CL", post(CHUNKED, b"Content-Length: 4", body=b"5c\r\n" + SMUGGLED + b"\r\n0\r\n\r\n"), (400,)),
    Row("D1 TE twice", post(CHUNKED, CHUNKED, body=b"0\r\n\r\n"), (400,)),
    Row("D1 TE other", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), (501,)),
    Row("D1 TE hidden by a tab", post(b"Transfer-Encoding:\tchunked\t", LENGTH, body=b"0\r\n\r\n"), (400,)),
    Row("D1 TE quoted", post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), (501,)),
    Row("D1 TE on 1.0", post(CHUNKED).replace(b"HTTP/1.1", b"HTTP/1.0") + b"0\r\n\r\n", (400,)),
    Row("D1 CL twice, equal", post(LENGTH, LENGTH, body=LOGIN), (400,)),
    Row("D1 CL list", post(b"Content-Length: 3, 3", body=b"abc"), (400,)),
    Row("D1 obs-fold", get(b"X-A: b", b" Content-Length: 5"), (400,)),
    Row("D1 bare LF", get().replace(b"\r\n", b"\n"), (400,)),
    Row("D1 bare LF inside", get(b"X-A: b\nContent-Length: 5"), (400,)),
    Row("D1 bare CR", get(b"X-A: b\rContent-Length: 5"), (400,)),
    Row("D1 HTTP/2.0", get().replace(b"HTTP/1.1", b"HTTP/2.0"), (505,)),
    Row("D1 absolute target", get(target=b"http://other.example/v1/webapi/ping"), (400,)),
    Row("D1 fragment", get(target=PING + b"#x"), (400,)),
    Row("D1 lower-case method", get(method=b"get"), (400,)),
    Row("D1 space before colon", get(b"Content-Length : 5"), (400,)),
    Row("D1 no Host", b"GET / HTTP/1.1\r\n\r\n", (400,)),
    Row("D1 two Hosts", get(b"Host: localhost"), (400,)),
    Row("D1 Host list", get(host=b"localhost, other.example"), (400,)),
    Row("D1 Host with user", get(host=b"other.example@localhost"), (400,)),
    Row("D1 Host with path", get(host=b"localhost/x"), (400,)),
    Row("D1 Host with a port beyond ports", get(host=b"localhost:65536"), (400,)),
    Row("D1 empty Host", get(host=b""), (400,)),
    # Chunks end the connection, whatever h11 thinks of their corners.
    Row("D1 chunks, then a request", post(CHUNKED, body=b"2\r\n{}\r\n0\r\n\r\n" + SMUGGLED), (400,)),
    Row("D1 chunk size with a sign", post(CHUNKED, body=b"+2\r\n{}\r\n0\r\n\r\n"), (400,)),
    Row("D1 chunk size with 0x", post(CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), (400,)),
    Row("D1 chunk longer than told", post(CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n"), (400,)),
    Row("D1 pipelined honestly", get(), (200, 200)),
    # Python's own lenience.
    *(Row(f"D2 CL {text!r}", post(b"Content-Length: " + text, body=b"x"), (400,))
      for text in (b"+1", b"-1", b"0x1", b"1_0", b"1.0", b"\xb2", b"")),
    *(Row(f"D2 CL before {byte!r}", post(b"Content-Length: 1" + byte, body=b"x"), (400,)) for byte in WEIRD),
    *(Row(f"D2 chunked after {byte!r}", post(b"Transfer-Encoding:" + byte + b"chunked"), (400, 501))
      for byte in WEIRD),
    *(Row(f"D2 name with {byte!r}", get(b"X" + byte + b": 1"), (400,)) for byte in WEIRD),
    # HTTP/2 is not spoken here at all.
    Row("D3 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ()),
    Row("D3 pseudo-header", get(b":path: /other"), (400,)),
    # Names for our own fields; the application answers as if they were not there.
    *(Row(f"D4 {name!r}", get(name + b": admin"), (200, 200))
      for name in (b"X-Mezite-User", b"X_Mezite_User", b"x.mezite.roles", b"MEZITE-JWT-ASSERTION")),
    Row("D5 trailer", post(CHUNKED, body=b"2\r\n{}\r\n0\r\nX-Mezite-User: admin\r\n\r\n"), (400,)),
    Row("D6 Connection names fields", get(b"Connection: keep-alive, authorization, host, x-mezite-user"), (200, 200)),
    # Where a request goes is told by Host alone.
    Row("D7 another host", get(host=b"evil.example"), (421, 200)),
    Row("D7 X-Forwarded-Host", get(b"X-Forwarded-Host: localhost", host=b"evil.example"), (421, 200)),
    Row("D7 X-Forwarded-Host away", get(b"X-Forwarded-Host: evil.example"), (200, 200)),
    Row("D7 Forwarded", get(b"Forwarded: host=x.apps.example.com;proto=http"), (200, 200)),
    Row("D7 an application", get(host=b"grafana.apps.example.com"), (404, 200)),
    Row("D7 an address", get(host=b"127.0.0.1:3080"), (200, 200)),
    Row("D7 a check without Host", b"GET " + PING + b" HTTP/1.0\r\n\r\n", (200,)),
    # One reading of a path.
    *(Row(f"D8 {path!r}", get(target=path), (400,))
      for path in (
          b"//v1/webapi/ping", b"/v1//webapi/ping", b"/v1/webapi/./ping", b"/v1/webapi/x/../ping",
          b"/v1/webapi/%2e%2e/ping", b"/v1%2fwebapi/ping", b"/v1/webapi%5cping", b"/v1/webapi/ping%00",
          b"/v1/webapi/ping%", b"/v1/webapi/ping%zz", b"/v1/webapi/%c0%ae/ping", b"/v1/webapi/ping\x7f",
          b"v1/webapi/ping", b"*", b"",
      )),
    *(Row(f"D8 {path!r}", get(target=path), (404, 200))
      for path in (b"/v1/webapi/ping/", b"/V1/webapi/ping", b"/v1/webapi/%2570ing", b"/v1/webapi/ping;x=1")),
    # No word opens a door.
    *(Row(f"D9 {field!r}", get(field, target=b"/v1/webapi/logout", method=b"POST"), (401, 200))
      for field in (
          b"User-Agent: kube-probe/1.30", b"X-Original-Method: GET", b"X-Original-URL: /v1/webapi/ping",
          b"X-Forwarded-For: 127.0.0.1", b"X-Mezite-User: admin", b"Authorization: Basic YWRtaW46", b"X-Health: 1",
      )),
    Row("D9 override", post(b"X-HTTP-Method-Override: GET", LENGTH, body=LOGIN), (401, 200)),
    # The gRPC port speaks h2c; this one answers in HTTP/1.1.
    Row(
        "D13 h2c upgrade",
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
        (200, 200),
    ),
    Row("D13 h2c with a body", post(b"Connection: Upgrade", b"Upgrade: h2c", LENGTH, body=LOGIN), (401, 200)),
    Row("D10 CONNECT", get(method=b"CONNECT"), (405,)),
    Row("D10 TRACE", get(method=b"TRACE"), (405,)),
    # Sizes.
    Row("D15 head", get(b"X: " + b"a" * 20_000), (431,)),
    Row("D15 target", get(target=b"/" + b"a" * 9_000), (414,)),
    Row("D15 fields", get(*[b"X: 1"] * 120), (431,)),
    Row("D15 body", post(b"Content-Length: 999999999"), (413,)),
)  # fmt: skip


async def exchange(hub: LiveHub, data: bytes) -> bytes:
    """Everything a client hears that sends this and then waits."""
    async with await dial(hub.address("web"), 1) as stream:
        with trio.fail_after(20):
            await stream.send_all(data)
            return await read_all(stream)


async def check(hub: LiveHub, row: Row, wrong: dict[str, object]) -> None:
    answers = tuple(
        int(status) for status in STATUS_LINE.findall(await exchange(hub, row.request + FOLLOWING))
    )
    allowed = (row.statuses,)
    if row.threat.startswith("D2 chunked after"):
        allowed = tuple((status,) for status in row.statuses)
    if answers not in allowed:
        wrong[row.threat] = answers


async def test_every_row(tmp_path: Path) -> None:
    wrong: dict[str, object] = {}
    async with live_hub(tmp_path, proxy=PROXY) as hub, trio.open_nursery() as nursery:
        for row in ROWS:
            nursery.start_soon(check, hub, row, wrong)
    assert wrong == {}


async def test_whom_the_answers_speak_of(tmp_path: Path) -> None:
    """D7: addresses come from the configuration; a header changes neither them nor whom the audit log names."""
    async with live_hub(tmp_path, proxy=PROXY) as hub:
        lies = [b"X-Forwarded-For: 203.0.113.9", b"X-Forwarded-Host: evil.example", b"X-Forwarded-Proto: ftp"]
        plain, told = (
            await exchange(hub, get(b"Connection: close")),
            await exchange(hub, get(b"Connection: close", *lies)),
        )
        assert body(plain)["addresses"] == body(told)["addresses"]
        await exchange(hub, post(LENGTH, *lies, b"Connection: close", body=LOGIN))
        (event,) = [json.loads(text) for text in await hub.audited("user.login.failed")]
        assert event["client_ip"] == "127.0.0.1"


def body(raw: bytes) -> dict[str, object]:
    answer = json.loads(raw.partition(b"\r\n\r\n")[2])
    assert isinstance(answer, dict)
    answer.pop("server_time_ms", None)
    return answer


async def test_two_hosts_on_one_connection(tmp_path: Path) -> None:
    """A balancer's: each request goes where its own Host says."""
    async with live_hub(tmp_path, proxy=PROXY) as hub:
        answers = await exchange(
            hub,
            get(host=b"grafana.apps.example.com")
            + get()
            + get(host=b"nobody.example")
            + get(b"Accept: text/html", host=b"Grafana.apps.example.com")
            + FOLLOWING,
        )
    assert STATUS_LINE.findall(answers) == [b"404", b"200", b"421", b"404", b"200"]
    assert answers.count(b"there is no application at grafana.apps.example.com") == 2
    assert b"<!doctype html>" in answers
    assert b"does not answer for nobody.example" in answers
    assert b"`proxy.public_addr`" in answers


async def test_browsers_are_not_offered_http_2(tmp_path: Path) -> None:
    """D3: with a wildcard certificate they would send both hosts' requests on one connection."""
    async with live_hub(tmp_path) as hub:
        context = unverified_client_context(("h2", "http/1.1"))
        stream = TlsStream(await dial(hub.address("web"), 1), context, server_side=False)
        async with stream:
            await stream.do_handshake()
            assert stream.alpn == "http/1.1"


@pytest.mark.parametrize("piece", [1, 7])
async def test_a_request_in_small_pieces(tmp_path: Path, piece: int) -> None:
    """D14: the pieces make no difference to what is understood; their slowness is tested with a clock that jumps."""
    async with live_hub(tmp_path, proxy=PROXY) as hub, await dial(hub.address("web"), 1) as stream:
        for start in range(0, len(FOLLOWING), piece):
            await stream.send_all(FOLLOWING[start : start + piece])
            await trio.lowlevel.checkpoint()
        assert STATUS_LINE.findall(await read_all(stream)) == [b"200"]


async def test_the_names_in_a_configured_certificate_are_the_hubs(tmp_path: Path) -> None:
    key = ecdsa_key()
    pair = certificate(key, "localhost", "files.example", "*.wild.example"), key_pem(key)
    keypair = write_pair(tmp_path, *pair)
    proxy = attrs.evolve(PROXY, tls_mode="file", keypair=keypair, apps_domain=None)
    async with live_hub(tmp_path / "hub", proxy=proxy) as hub:
        stream = TlsStream(
            await dial(hub.address("web"), 1), unverified_client_context(("http/1.1",)), server_side=False
        )
        async with stream:
            await stream.do_handshake()
            await stream.send_all(get(host=b"files.example") + get(host=b"a.wild.example") + FOLLOWING)
            assert STATUS_LINE.findall(await read_all(stream)) == [b"200", b"421", b"200"]
