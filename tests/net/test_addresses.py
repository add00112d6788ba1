# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing

from mezite.net.addresses import connection_addresses, host_of, join_host_port, split_host_port
from mezite.testing.memory_network import MemoryNetwork


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("hub.example", "hub.example", 3024),
        ("hub.example:1", "hub.example", 1),
        ("192.0.2.1:65535", "192.0.2.1", 65535),
        ("[2001:db8::1]:443", "2001:db8::1", 443),
        ("[::1]", "::1", 3024),
        ("2001:db8::1", "2001:db8::1", 3024),
    ],
)
def test_addresses_are_split(text: str, host: str, port: int) -> None:
    assert split_host_port(text, 3024) == (host, port)
    assert host_of(text) == host


@pytest.mark.parametrize(
    "text",
    [
        "", ":1", "host:", "host:0", "host:65536", "host:+1", "host:1_0", "host:\u0661", "host:-1",
        "[::1", "[::1]x", "[::1]:", "[host]:1", "1:2:3", "[fe80::1%eth0]:1", "ho st:1", "user@host:1",
        "h\u00f6st:1", "host#x", "host:123456", "host/path",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_text(text: str) -> None:
    """D2, P20: int() and friends are lenient, we are not."""
    with pytest.raises(ValueError, match=r"not|no valid"):
        split_host_port(text, 3024)


def test_a_url_is_called_one() -> None:
    with pytest.raises(ValueError, match="is a URL, not host"):
        split_host_port("https://hub.example:443/", 3024)


def test_joining_brackets_ipv6() -> None:
    assert join_host_port("::1", 22) == "[::1]:22"
    assert join_host_port("hub", 22) == "hub:22"


async def test_real_sockets_of_both_families() -> None:
    for host, expected in (("127.0.0.1", "127.0.0.1:"), ("::1", "[::1]:")):
        (listener,) = await trio.open_tcp_listeners(0, host=host)
        async with listener:
            port = listener.socket.getsockname()[1]
            async with await trio.open_tcp_stream(host, port) as stream, await listener.accept() as accepted:
                peer, local = connection_addresses(accepted)
                assert local == f"{expected}{port}"
                assert peer.startswith(expected)
                assert connection_addresses(stream) == (local, peer)


async def test_an_ipv4_client_of_an_ipv6_socket_is_an_ipv4_client() -> None:
    """C1: one spelling, so that no limit and no rule can be dodged by another."""
    sock = trio.socket.socket(trio.socket.AF_INET6)
    sock.setsockopt(trio.socket.IPPROTO_IPV6, trio.socket.IPV6_V6ONLY, 0)
    await sock.bind(("::", 0))
    sock.listen(1)
    async with trio.SocketListener(sock) as listener:
        port = sock.getsockname()[1]
        async with await trio.open_tcp_stream("127.0.0.1", port), await listener.accept() as accepted:
            peer, local = connection_addresses(accepted)
            assert host_of(peer) == "127.0.0.1"
            assert local == f"127.0.0.1:{port}"


async def test_what_has_no_address_still_gets_a_key() -> None:
    """C3: never an empty string."""
    left, right = trio.socket.socketpair()
    with left, right:
        assert connection_addresses(trio.SocketStream(left)) == ("unknown:0", "unknown:0")
    assert connection_addresses(trio.SocketStream(left)) == ("unknown:0", "unknown:0")
    memory, _ = trio.testing.memory_stream_pair()
    assert connection_addresses(memory) == ("unknown:0", "unknown:0")


async def test_memory_streams_know_their_addresses() -> None:
    network = MemoryNetwork()
    async with network.listen("hub:1") as listener:
        await network.dial("hub:1", source="agent")
        peer, local = connection_addresses(await listener.accept())
        assert (host_of(peer), local) == ("agent", "hub:1")
