# SPDX-License-Identifier: Apache-2.0
import pytest
import trio

from mezite.core.outbound_proxy import HttpProxy
from mezite.net.addresses import split_host_port
from mezite.net.dialer import DialError
from mezite.net.http_connect_proxy import dial_through_proxy
from tests.loopback import listening
from tests.net.fronts import answering

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"


def proxy_at(address: str, credentials: bytes | None = None) -> HttpProxy:
    host, port = split_host_port(address, 0)
    return HttpProxy(host=host, port=port, credentials=credentials)


async def refused(answer: bytes, credentials: bytes | None = None) -> DialError:
    async with listening(answering(answer)) as address:
        with pytest.raises(DialError) as caught:
            await dial_through_proxy(proxy_at(address, credentials), "hub.example.com", 3024)
    assert caught.value.what == f"cannot connect to hub.example.com:3024 through the proxy {address}"
    return caught.value


async def test_a_connection_through_a_proxy() -> None:
    asked = []

    async def proxy(stream: trio.SocketStream) -> None:
        asked.append(bytes(await stream.receive_some()))
        await stream.send_all(OK)
        await stream.send_all(b"you said " + await stream.receive_some())

    async with listening(proxy) as address:
        stream = await dial_through_proxy(proxy_at(address, b"alice:secret"), "hub.example.com", 3024)
        await stream.send_all(b"hello")
        assert bytes(await stream.receive_some()) == b"you said hello"
        await stream.aclose()
    assert b"CONNECT hub.example.com:3024 HTTP/1.1\r\n" in asked[0]
    assert b"\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n" in asked[0]


async def test_what_comes_with_the_answer_belongs_to_the_destination() -> None:
    """A server that speaks first may have spoken before the client has read the proxy's answer."""
    async with listening(answering(OK + b"SSH-2.0-x\r\n")) as address:
        stream = await dial_through_proxy(proxy_at(address), "hub", 22)
        assert bytes(await stream.receive_some(4)) == b"SSH-"
        assert bytes(await stream.receive_some()) == b"2.0-x\r\n"
        await stream.aclose()


@pytest.mark.parametrize(
    ("answer", "credentials", "why", "hint"),
    [
        (
            b"407 Proxy Authentication Required",
            None,
            "407 Proxy Auth",
            "set the user and password in HTTPS_PROXY",
        ),
        (b"401 Unauthorized", b"a:b", "401 Unauth", "check the user and password in HTTPS_PROXY"),
        (b"407 Auth", b"a:b", "407 Auth", "check the user and password in HTTPS_PROXY"),
        (b"403 Filtered", None, "403 Filtered", "allow CONNECT there, or name hub.example.com in NO_PROXY"),
        (b"500 Unable to connect", None, "500 Unable", "the proxy cannot reach hub.example.com"),
        (b"502 Bad Gateway", None, "502 Bad Gateway", "the proxy cannot reach hub.example.com"),
        (b"302 Found", None, "302 Found", "names an HTTP proxy that allows CONNECT"),
    ],
)
async def test_refusals_say_what_to_do(answer: bytes, credentials: bytes | None, why: str, hint: str) -> None:
    error = await refused(b"HTTP/1.1 " + answer + b"\r\n\r\n", credentials)
    assert error.why.startswith(why)
    assert hint in error.hint


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "does not answer in HTTP/1"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection without a complete answer"),
        (b"", "closed the connection without a complete answer"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 100_000, "longer than 16384 bytes"),
        (b"HTTP/1.1 200 OK\n\n", "bare line feed"),
    ],
)
async def test_a_hostile_proxy(answer: bytes, why: str) -> None:
    assert why in (await refused(answer)).why


async def test_a_proxy_that_never_answers() -> None:
    async with listening(answering(b"HTTP/1.1 200", then_close=False)) as address:
        with pytest.raises(DialError, match=r"no answer after 0\.2 s; check that HTTPS_PROXY"):
            await dial_through_proxy(proxy_at(address), "hub", 443, deadline_seconds=0.2)


async def test_a_proxy_that_is_not_there() -> None:
    async with listening(answering(b"")) as address:
        pass
    with pytest.raises(DialError, match=r"connection refused; .*the proxy is set in HTTPS_PROXY"):
        await dial_through_proxy(proxy_at(address), "hub", 443)


async def test_an_address_that_cannot_be_asked_for() -> None:
    async with listening(answering(OK)) as address:
        with pytest.raises(DialError, match="cannot ask a proxy"):
            await dial_through_proxy(proxy_at(address), "a b", 443)
