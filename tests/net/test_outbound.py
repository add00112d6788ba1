# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing

from mezite.core.outbound_proxy import ProxySettings
from mezite.net.dialer import DialError
from mezite.net.outbound import Outbound, OuterTlsError
from mezite.net.tunnel_route import Carrier, TunnelRoute
from mezite.testing.self_signed import self_signed_pem
from tests.loopback import listening
from tests.net.fronts import answering, tls_front


async def echo(stream: trio.SocketStream) -> None:
    while data := await stream.receive_some():
        await stream.send_all(data)


async def talks(stream: trio.abc.Stream) -> bool:
    async with stream:
        await stream.send_all(b"hello")
        return bytes(await stream.receive_some()) == b"hello"


async def test_the_direct_way() -> None:
    async with listening(echo) as address:
        assert await talks(await Outbound().dial(address, 1))
        assert await talks(await TunnelRoute(address=address, default_port=1).open())


async def test_through_a_proxy_unless_exempt() -> None:
    async with (
        listening(echo, "127.0.0.2") as address,
        listening(answering(b"HTTP/1.1 403 No\r\n\r\n")) as proxy,
    ):
        for exempt in ("", "127.0.0.0/8"):
            proxies = ProxySettings.from_environment({"HTTPS_PROXY": f"http://{proxy}", "NO_PROXY": exempt})
            if exempt:
                assert await talks(await Outbound(proxies=proxies).dial(address, 1))
            else:
                with pytest.raises(DialError, match=f"{address} through the proxy {proxy}: 403 No"):
                    await Outbound(proxies=proxies).dial(address, 1)


async def test_a_malformed_address() -> None:
    with pytest.raises(DialError, match="write host:port"):
        await Outbound().dial("hub:port", 1)


@pytest.mark.parametrize("told", ["extra", "also"])
async def test_an_outer_session(told: str) -> None:
    pem = self_signed_pem()
    outbound = Outbound(extra_roots=(pem[0],) if told == "extra" else ())
    async with listening(echo) as address, tls_front(address, pem) as front:
        route = TunnelRoute(address=front, default_port=1, carrier=Carrier.TLS, outbound=outbound)
        assert await talks(await route.open([pem[0]] if told == "also" else []))


async def test_a_certificate_that_nobody_vouches_for() -> None:
    async with listening(echo) as address, tls_front(address, self_signed_pem()) as front:
        with pytest.raises(OuterTlsError, match="verify failed: self-signed") as caught:
            await TunnelRoute(address=front, default_port=1, carrier=Carrier.TLS).open()
    assert caught.value.unverified
    assert caught.value.address == front


async def test_a_certificate_for_another_name() -> None:
    pem = self_signed_pem()
    async with listening(echo) as address, tls_front(address, pem, "127.0.0.3") as front:
        with pytest.raises(OuterTlsError, match="IP address mismatch") as caught:
            await TunnelRoute(
                address=front, default_port=1, carrier=Carrier.TLS, outbound=Outbound(extra_roots=(pem[0],))
            ).open()
    assert caught.value.unverified


async def test_something_that_speaks_no_tls() -> None:
    async with listening(answering(b"SSH-2.0-x\r\n")) as address:
        with pytest.raises(OuterTlsError) as caught:
            await TunnelRoute(address=address, default_port=1, carrier=Carrier.TLS).open()
    assert not caught.value.unverified


async def test_something_that_says_nothing() -> None:
    async with listening(answering(b"", then_close=False)) as address:
        stream = await Outbound().dial(address, 1)
        with pytest.raises(OuterTlsError, match=r"no handshake within 0\.2 s"):
            await Outbound().outer_tls(stream, address, deadline_seconds=0.2)


async def test_a_connection_that_is_reset() -> None:
    near, far = trio.testing.memory_stream_pair()
    await far.receive_stream.aclose()
    with pytest.raises(OuterTlsError, match="the connection was cut"):
        await Outbound().outer_tls(near, "hub:1")
