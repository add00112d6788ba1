# SPDX-License-Identifier: Apache-2.0
import errno
import socket

import pytest
import trio
import trio.testing

from mezite.net.dialer import MAX_ADDRESSES, DialError, dial, interleave_families
from mezite.testing.cancellation_sweep import cancel_points

V4, V6 = socket.AF_INET, socket.AF_INET6


async def open_listener() -> tuple[trio.SocketListener, int]:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    return listener, listener.socket.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_connection_with_its_options(host: str) -> None:
    listener, port = await open_listener()
    async with listener, await dial(f"{host}:{port}", 1) as stream, await listener.accept() as accepted:
        await accepted.send_all(b"hello")
        assert await stream.receive_some() == b"hello"
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_the_default_port_is_used() -> None:
    listener, port = await open_listener()
    async with listener:
        await (await dial("127.0.0.1", port)).aclose()


async def test_refusal_says_what_why_and_what_to_do() -> None:
    listener, port = await open_listener()
    await listener.aclose()
    with pytest.raises(DialError) as caught:
        await dial(f"127.0.0.1:{port}", 1)
    assert caught.value.what == f"cannot connect to 127.0.0.1:{port}"
    assert caught.value.why == "connection refused"
    assert "nothing listens there" in caught.value.hint
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNREFUSED


async def test_a_malformed_address() -> None:
    with pytest.raises(DialError, match="not a number from 1 to 65535"):
        await dial("hub:99999", 1)


@pytest.mark.parametrize("name", ["does-not-exist.invalid", "a" * 70 + ".example"])
async def test_an_unknown_name(name: str) -> None:
    with pytest.raises(DialError, match="cannot look up"):
        await dial(name, 1)


async def test_no_answer_ends_at_the_deadline() -> None:
    # A listener with a full backlog leaves further connections without an answer on Linux.
    with trio.socket.socket() as full:
        await full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = f"127.0.0.1:{full.getsockname()[1]}"
        first = await dial(address, 1)
        with pytest.raises(DialError, match=r"no answer after 0\.1 s"):
            await dial(address, 1, deadline_seconds=0.1)
        await first.aclose()


async def test_cancelling_at_every_await_leaves_no_socket() -> None:
    listener, port = await open_listener()
    async with listener:
        for point in cancel_points():
            results: list[trio.SocketStream] = []

            async def victim(results: list[trio.SocketStream] = results) -> None:
                results.append(await dial(f"127.0.0.1:{port}", 1))

            await point.run(victim)
            assert point.cancelled == (not results)
            for stream in results:
                await stream.aclose()


def test_families_alternate_beginning_with_the_resolvers_choice() -> None:
    mixed = interleave_families([(V6, 1), (V6, 2), (V6, 3), (V4, 4)])
    assert mixed == [(V6, 1), (V4, 4), (V6, 2), (V6, 3)]
    assert interleave_families([(V4, 1)]) == [(V4, 1)]
    assert MAX_ADDRESSES >= 2
