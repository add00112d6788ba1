# SPDX-License-Identifier: Apache-2.0
"""Requests to servers that others have named: where they may lead, and what they may cost."""

from contextlib import asynccontextmanager

import pytest
import trio

from mezite.core.oidc.provider_url import parse_provider_url
from mezite.net.dialer import DialError, dial
from mezite.net.guarded_client import FetchError, GuardedClient
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.loopback import listening

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CERTIFICATE, KEY = self_signed_pem()
LOCAL = GuardedClient(allow_private=True)


@asynccontextmanager
async def serving(answer, *, tls=False, heard=None):
    """A server on loopback that answers each connection with the same bytes; its URL."""

    async def serve(transport):
        stream = transport
        if tls:
            stream = TlsStream(transport, server_context(CERTIFICATE, KEY, ()), server_side=True)
            await stream.do_handshake()
        if heard is not None:
            heard.append(await stream.receive_some(65536))
        await stream.send_all(answer)
        await stream.aclose()

    async with listening(serve) as address:
        scheme, port = "https" if tls else "http", address.rpartition(":")[2]
        yield parse_provider_url(f"{scheme}://localhost:{port}/x?y", plain_on_loopback=True)


async def test_a_request_and_its_answer():
    heard = []
    async with serving(OK, heard=heard) as url:
        response = await LOCAL.fetch(url, "POST", [("accept", "x")], b"a=b")
    assert (response.status, response.body) == (200, b"hi")
    (sent,) = heard
    assert sent.startswith(b"POST /x?y HTTP/1.1\r\n")
    assert f"host: {url.authority}".encode() in sent.lower()
    assert sent.endswith(b"\r\n\r\na=b")


async def test_tls_with_roots_of_ones_own():
    async with serving(OK, tls=True, heard=[]) as url:
        trusting = GuardedClient(allow_private=True, extra_roots=(CERTIFICATE.decode(),))
        assert (await trusting.fetch(url)).body == b"hi"
        with pytest.raises(FetchError, match=r"no TLS session with localhost:.*verify failed"):
            await LOCAL.fetch(url)
        nonsense = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"
        with pytest.raises(FetchError, match="roots of ca_pem cannot be read"):
            await GuardedClient(allow_private=True, extra_roots=(nonsense,)).fetch(url)


async def test_a_name_that_leads_into_a_private_network():
    """What a name stands for counts, not how it is written; one such address is enough."""
    heard = []
    async with serving(OK, heard=heard) as url:
        with pytest.raises(FetchError, match=r"may not connect to localhost:.* is in a private network"):
            await GuardedClient().fetch(url)
    assert heard == []


async def test_the_dialer_asks_about_each_address():
    asked = []

    def refuse(address):
        asked.append(address)
        return ""

    async with serving(OK) as url:
        await trio.aclose_forcefully(await dial(url.authority, 1, refuse=refuse))
        assert "127.0.0.1" in asked
        with pytest.raises(DialError, match=r"may not connect to .*: no"):
            await dial(url.authority, 1, refuse=lambda _: "no")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_redirects_are_not_followed(status):
    redirect = f"HTTP/1.1 {status} X\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with serving(redirect.encode()) as url:
        with pytest.raises(FetchError, match=rf"answers with a redirect \(status {status}\)"):
            await LOCAL.fetch(url)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "gives no usable answer"),
        (b"SSH-2.0-x\r\n", "gives no usable answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi", "gives no usable answer"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, "larger than 262144 bytes"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "gives no usable answer"),
    ],
)
async def test_answers_that_are_none(answer, message):
    async with serving(answer) as url:
        with pytest.raises(FetchError, match=message):
            await LOCAL.fetch(url)


async def test_a_server_that_says_nothing():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        for scheme in ("http", "https"):
            url = parse_provider_url(f"{scheme}://127.0.0.1:{port}/", plain_on_loopback=True)
            with pytest.raises(FetchError, match=r"does not answer within 0\.05 s"):
                await GuardedClient(allow_private=True, seconds=0.05).fetch(url)


async def test_nobody_there():
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.raises(FetchError, match="connection refused"):
        await LOCAL.fetch(parse_provider_url(f"https://127.0.0.1:{port}/"))
