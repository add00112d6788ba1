# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest
import trio
import trio.testing

from mezite.core.errors import RemoteProtocolError
from mezite.core.protocol_sniffer import Protocol
from mezite.net.byte_streams import PushbackStream
from mezite.net.protocol_router import SERVER_FIRST_WAIT_SECONDS, peek_client_hello, peek_protocol

OPENINGS = [
    (b"\x16\x03\x01\x05\xb4\x01", Protocol.TLS),
    (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol.SSH),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol.HTTP2_PRIOR_KNOWLEDGE),
    (b"GET / HTTP/1.1\r\n", Protocol.HTTP1),
    (b"\x00\x00\x00\x00", Protocol.UNKNOWN),
]


@pytest.mark.parametrize(("opening", "protocol"), OPENINGS)
@pytest.mark.parametrize("piece", [1, 1000])
async def test_the_protocol_is_told_and_nothing_is_lost(
    opening: bytes, protocol: Protocol, piece: int, autojump_clock: trio.testing.MockClock
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = PushbackStream(server)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            for at in range(0, len(opening), piece):
                await client.send_all(opening[at : at + piece])
                await trio.sleep(5)  # only the first byte is urgent
            await client.send_eof()

        assert await peek_protocol(stream, first_byte_seconds=1) is protocol
        got = bytearray()
        while data := await stream.receive_some():
            got += data
    assert got == opening


async def test_a_silent_client_is_waiting_for_a_greeting(autojump_clock: trio.testing.MockClock) -> None:
    """C5: an SSH client that lets the server speak first must not deadlock."""
    client, server = trio.testing.memory_stream_pair()
    stream = PushbackStream(server)
    start = trio.current_time()
    assert await peek_protocol(stream, first_byte_seconds=SERVER_FIRST_WAIT_SECONDS) is None
    assert trio.current_time() - start == pytest.approx(1.0)
    await client.send_all(b"SSH-2.0-late\r\n")
    assert await stream.receive_some() == b"SSH-2.0-late\r\n"


async def test_a_health_probe_that_connects_and_closes() -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.aclose()
    assert await peek_protocol(PushbackStream(server)) is None


async def test_an_unfinished_opening_is_put_back() -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(b"SSH")
    await client.send_eof()
    stream = PushbackStream(server)
    assert await peek_protocol(stream) is None
    assert await stream.receive_some() == b"SSH"


HELLO = (
    Path(__file__).parent.parent.parent / "fuzz" / "corpus" / "fuzz_client_hello" / "chromium"
).read_bytes()


@pytest.mark.parametrize("piece", [1, 700, 10_000])
async def test_a_client_hello_is_read_and_put_back(
    piece: int, autojump_clock: trio.testing.MockClock
) -> None:
    client, server = trio.testing.memory_stream_pair()
    stream = PushbackStream(server)
    sent = HELLO + b"early data"
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def send() -> None:
            for at in range(0, len(sent), piece):
                await client.send_all(sent[at : at + piece])
            await client.send_eof()

        hello = await peek_client_hello(stream)
        assert (hello.server_name, hello.alpn) == ("app.localhost", ("h2", "http/1.1"))
        got = bytearray()
        while data := await stream.receive_some():
            got += data
    assert got == sent


@pytest.mark.parametrize(
    ("opening", "error"), [(b"SSH-2.0-x\r\n", RemoteProtocolError), (HELLO[:700], trio.BrokenResourceError)]
)
async def test_what_is_no_client_hello_is_put_back_too(opening: bytes, error: type[Exception]) -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(opening)
    await client.send_eof()
    stream = PushbackStream(server)
    with pytest.raises(error, match="ClientHello"):
        await peek_client_hello(stream)
    assert await stream.receive_some() == opening


async def test_giving_up_on_a_client_hello_loses_nothing(autojump_clock: trio.testing.MockClock) -> None:
    client, server = trio.testing.memory_stream_pair()
    await client.send_all(HELLO[:700])
    stream = PushbackStream(server)
    with trio.move_on_after(1):
        await peek_client_hello(stream)
    assert await stream.receive_some() == HELLO[:700]
