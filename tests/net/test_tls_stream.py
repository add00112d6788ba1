# SPDX-License-Identifier: Apache-2.0
import contextlib
import hashlib
import random
import ssl
from collections.abc import Callable

import pytest
import trio
import trio.testing

from mezite.net.connection_limits import BudgetedStream, ConnectionLimits
from mezite.net.tls_contexts import (
    client_context,
    mutual_client_context,
    mutual_server_context,
    server_context,
    unverified_client_context,
)
from mezite.net.tls_engine import MAX_UNSENT_REPLIES, RECEIVE_BYTES
from mezite.net.tls_stream import TLS_CHUNK_BYTES, TlsError, TlsStream
from mezite.testing.cancellation_sweep import cancel_points
from mezite.testing.fault_stream import FaultPlan, FaultStream
from mezite.testing.memory_network import PIPE_BYTES, MemoryNetwork, MemoryStream
from mezite.testing.self_signed import self_signed_pem

CERT, KEY = self_signed_pem()
OTHER_CERT, OTHER_KEY = self_signed_pem("other.example")


async def transports() -> tuple[MemoryStream, MemoryStream]:
    async with (network := MemoryNetwork()).listen("hub:1") as listener:
        return await network.dial("hub:1"), await listener.accept()


async def handshake(client: trio.abc.Stream, server: trio.abc.Stream) -> tuple[TlsStream, TlsStream]:
    ours = TlsStream(client, mutual_client_context([CERT], CERT, KEY, ["x/1", "y/1"]), server_side=False)
    theirs = TlsStream(server, mutual_server_context(CERT, KEY, [CERT], ["y/1"]), server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.do_handshake)
        nursery.start_soon(theirs.do_handshake)
    return ours, theirs


async def tls_pair() -> tuple[TlsStream, TlsStream]:
    return await handshake(*await transports())


async def clogged_tls_pair() -> tuple[TlsStream, TlsStream]:
    a, b = await tls_pair()
    for stream in (a, b):
        # Past TLS, straight into the transport: nobody decrypts it, it only fills the buffer.
        await stream.transport.send_all(bytes(PIPE_BYTES))
    return a, b


async def read_all(stream: TlsStream) -> bytes:
    got = bytearray()
    while data := await stream.receive_some():
        got += data
    return bytes(got)


async def test_conformity_on_buffered_transports() -> None:
    await trio.testing.check_half_closeable_stream(tls_pair, None)


async def test_conformity_on_lockstep_transports(autojump_clock: trio.testing.MockClock) -> None:
    async def make() -> tuple[TlsStream, TlsStream]:
        return await handshake(*trio.testing.lockstep_stream_pair())

    await trio.testing.check_half_closeable_stream(make, make)


async def test_what_the_handshake_agreed_on() -> None:
    client, server = await tls_pair()
    assert client.alpn == server.alpn == "y/1"
    assert client.version == "TLSv1.3"
    assert client.peer_certificate() == server.peer_certificate() == ssl.PEM_cert_to_DER_cert(CERT.decode())
    await client.do_handshake()  # repeating does nothing


async def test_nothing_may_be_said_before_the_handshake() -> None:
    a, _ = await transports()
    stream = TlsStream(a, unverified_client_context([]), server_side=False)
    assert stream.peer_certificate() is None
    for operation in (stream.receive_some, stream.send_eof, stream.wait_send_all_might_not_block):
        with pytest.raises(RuntimeError, match="do_handshake"):
            await operation()
    with pytest.raises(RuntimeError, match="do_handshake"):
        await stream.send_all(b"x")
    await stream.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await stream.do_handshake()


@pytest.mark.parametrize("split", [0.0, 0.3])
async def test_megabytes_both_ways_arrive_whole(split: float) -> None:
    plan = FaultPlan(split=split, max_piece=5000)
    a, b = await transports()
    client, server = await handshake(
        FaultStream(a, plan, random.Random(1)), FaultStream(b, plan, random.Random(2))
    )
    up, down = random.Random(3).randbytes(3_000_001), random.Random(4).randbytes(1_234_567)
    digests: dict[str, str] = {}

    async def send(stream: TlsStream, data: bytes, rng: random.Random) -> None:
        at = 0
        while at < len(data):
            step = rng.choice([1, 100, 16384, 16385, TLS_CHUNK_BYTES, 3 * TLS_CHUNK_BYTES])
            await stream.send_all(memoryview(data)[at : at + step])
            at += step
        await stream.send_eof()

    async def receive(name: str, stream: TlsStream, limit: int | None) -> None:
        digest = hashlib.sha256()
        while data := await stream.receive_some(limit):
            assert limit is None or len(data) <= limit
            digest.update(data)
        digests[name] = digest.hexdigest()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, client, up, random.Random(5))
        nursery.start_soon(send, server, down, random.Random(6))
        nursery.start_soon(receive, "up", server, None)
        nursery.start_soon(receive, "down", client, 9999)
    assert digests == {"up": hashlib.sha256(up).hexdigest(), "down": hashlib.sha256(down).hexdigest()}


async def test_send_eof_keeps_data_that_has_arrived_already() -> None:
    client, server = await tls_pair()
    await client.send_all(b"early" * 10_000)
    await server.receive_some(1)
    await client.send_all(b"more")
    await server.send_eof()
    await server.send_eof()
    await client.send_all(b"late")
    await client.send_eof()
    assert await read_all(server) == (b"early" * 10_000)[1:] + b"morelate"
    assert await read_all(client) == b""
    with pytest.raises(trio.ClosedResourceError, match="send_eof"):
        await server.send_all(b"x")


async def test_a_cut_connection_is_not_an_end() -> None:
    """Truncation attack: the transport ends without close_notify."""
    client, server = await tls_pair()
    await client.send_all(b"data")
    await client.transport.aclose()
    assert await server.receive_some() == b"data"
    with pytest.raises(TlsError, match="truncated"):
        await server.receive_some()
    with pytest.raises(trio.BrokenResourceError, match="failed earlier"):
        await server.receive_some()


async def test_a_forged_record_breaks_the_stream_after_the_good_ones() -> None:
    client, server = await tls_pair()
    await client.send_all(b"good")
    await client.transport.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    assert await server.receive_some() == b"good"
    with pytest.raises(TlsError):
        await server.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    await server.aclose()


async def test_a_full_stream_of_good_records_before_a_forged_one() -> None:
    client, server = await tls_pair()
    await client.send_all(b"g" * 20_000)
    await client.transport.send_all(b"\x17\x03\x03\x00\x20" + bytes(32))
    with pytest.raises(TlsError):
        assert await read_all(server) == b"never returned"


class Recorder:
    """What came out of each end of a failed handshake."""

    def __init__(self) -> None:
        self.errors: dict[str, BaseException] = {}

    async def attempt(self, name: str, step: Callable[[], object]) -> None:
        try:
            await step()  # type: ignore[misc]
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            self.errors[name] = error


async def failed_handshake(
    client: ssl.SSLContext, server: ssl.SSLContext, name: str | None = None
) -> Recorder:
    a, b = await transports()
    ours = TlsStream(a, client, server_side=False, server_hostname=name)
    theirs = TlsStream(b, server, server_side=True)
    recorder = Recorder()

    async def client_side() -> None:
        await ours.do_handshake()
        await ours.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.attempt, "client", client_side)
        nursery.start_soon(recorder.attempt, "server", theirs.do_handshake)
    return recorder


async def test_a_client_without_certificate_is_refused_and_told() -> None:
    """F2: mutual TLS never fails open."""
    server = mutual_server_context(CERT, KEY, [CERT], [])
    errors = (await failed_handshake(client_context([CERT], []), server, "localhost")).errors
    assert "peer did not return a certificate" in str(errors["server"])
    assert "certificate required" in str(errors["client"])


async def test_a_client_certificate_of_another_authority_is_refused() -> None:
    server = mutual_server_context(CERT, KEY, [CERT], [])
    client = mutual_client_context([CERT], OTHER_CERT, OTHER_KEY, [])
    errors = (await failed_handshake(client, server)).errors
    assert "certificate verify failed" in str(errors["server"])
    assert "unknown ca" in str(errors["client"])


async def test_a_server_of_another_authority_or_name_is_refused() -> None:
    server = server_context(CERT, KEY, [])
    errors = (await failed_handshake(client_context([OTHER_CERT], []), server, "localhost")).errors
    assert "self-signed certificate" in str(errors["client"])
    assert isinstance(errors["server"], TlsError)
    errors = (await failed_handshake(client_context([CERT], []), server, "wrong.example")).errors
    assert "Hostname mismatch" in str(errors["client"])


async def test_cleartext_where_tls_is_expected() -> None:
    a, b = await transports()
    server = TlsStream(b, server_context(CERT, KEY, []), server_side=True)
    await a.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(TlsError, match="http request"):
        await server.do_handshake()
    with pytest.raises(trio.BrokenResourceError):
        await server.do_handshake()


async def test_what_follows_a_handshake_is_not_of_it(nursery: trio.Nursery) -> None:
    """An upload in the same packets as the client's last message, where a stranger may send 64 KiB."""
    a, b = await transports()
    budgeted = BudgetedStream(b, ConnectionLimits().preauth_bytes)
    server = TlsStream(budgeted, mutual_server_context(CERT, KEY, [CERT], []), server_side=True)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = mutual_client_context([CERT], CERT, KEY, []).wrap_bio(incoming, outgoing)

    async def upload() -> None:
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        await a.send_all(outgoing.read())
        while client.version() is None or not outgoing.pending:
            incoming.write(await a.receive_some(PIPE_BYTES))
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
        client.write(bytes(200_000))
        await a.send_all(outgoing.read())

    nursery.start_soon(upload)
    with trio.fail_after(20):
        await server.do_handshake()
        budgeted.lift()
        received = 0
        while received < 200_000:
            received += len(await server.receive_some())
    assert received == 200_000


async def test_a_connection_that_ends_during_the_handshake() -> None:
    a, b = await transports()
    server = TlsStream(b, server_context(CERT, KEY, []), server_side=True)
    await a.send_all(b"\x16\x03\x01")
    await a.send_eof()
    with pytest.raises(TlsError, match="during the handshake"):
        await server.do_handshake()


async def test_a_stalled_handshake_is_cancelled_and_closed(autojump_clock: trio.testing.MockClock) -> None:
    a, b = await transports()
    server = TlsStream(b, server_context(CERT, KEY, []), server_side=True)
    with trio.move_on_after(10) as scope:
        await server.do_handshake()
    assert scope.cancelled_caught
    assert await a.receive_some() == b""


async def test_cancelling_a_send_at_every_await() -> None:
    """P1, P2: the data arrives whole, or the sender's stream is dead and the receiver sees an error."""
    data = random.Random(1).randbytes(3 * TLS_CHUNK_BYTES)
    for point in cancel_points():
        client, server = await tls_pair()
        received = bytearray()
        failed = False
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def receive(server: TlsStream = server, received: bytearray = received) -> None:
                nonlocal failed
                try:
                    while piece := await server.receive_some():
                        received += piece
                except trio.BrokenResourceError:
                    failed = True

            await point.run(lambda client=client: client.send_all(data))
            try:
                await client.send_all(b"!")
                await client.send_eof()
                usable = True
            except trio.BrokenResourceError:
                usable = False
        if usable:
            # Cancelled before the first byte, or not at all.
            assert received in (data + b"!", b"!")
            assert not failed
        else:
            assert point.cancelled
            assert failed
            assert data.startswith(received)
        await client.aclose()
        await server.aclose()


async def test_cancelling_a_receive_at_every_await_loses_nothing() -> None:
    data = random.Random(1).randbytes(300_000)
    for point in cancel_points():
        client, server = await tls_pair()
        received = bytearray()

        async def receive_all(server: TlsStream = server, received: bytearray = received) -> None:
            while piece := await server.receive_some():
                received += piece

        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send(client: TlsStream = client) -> None:
                await client.send_all(data)
                await client.aclose()

            await point.run(receive_all)
            await receive_all()
        assert received == data


async def test_cancelling_a_half_close_kills_the_stream(autojump_clock: trio.testing.MockClock) -> None:
    client, _server = await clogged_tls_pair()
    with trio.move_on_after(1):
        await client.send_eof()
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()


async def test_closing_does_not_wait_for_a_peer_that_does_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    client, _ = await clogged_tls_pair()
    start = trio.current_time()
    await client.aclose()
    assert trio.current_time() - start <= 2
    with pytest.raises(trio.ClosedResourceError):
        await client.transport.send_all(b"x")


async def test_closing_ends_what_other_tasks_do() -> None:
    client, _ = await clogged_tls_pair()

    async def expect_closed(operation: Callable[[], object]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await operation()  # type: ignore[misc]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(expect_closed, lambda: client.send_all(bytes(1024 * 1024)))
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_a_peer_that_makes_us_owe_too_many_replies_is_cut() -> None:
    client, server = await tls_pair()
    server._engine.outgoing.write(bytes(MAX_UNSENT_REPLIES + 1))
    await client.send_all(b"x")
    with pytest.raises(TlsError, match="key updates"):
        await server.receive_some()


def test_one_aligned_burst_is_one_receive() -> None:
    records = -(-TLS_CHUNK_BYTES // 16384)
    assert TLS_CHUNK_BYTES + records * 22 == RECEIVE_BYTES


async def test_closing_while_a_receive_waits_is_noticed_on_every_layer() -> None:
    client, _ = await tls_pair()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def receive() -> None:
            with pytest.raises(trio.ClosedResourceError, match="closed here"):
                await client.receive_some()

        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()


async def test_a_transport_that_was_closed_underneath() -> None:
    client, _ = await tls_pair()
    await client.transport.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await client.receive_some()


async def test_closing_while_a_receive_has_data_at_hand() -> None:
    """The engine may hold more than was asked for; a half-close must keep all of it."""
    client, server = await tls_pair()
    await client.send_all(b"abc")
    await client.send_eof()
    await server.receive_some(1)
    await server.send_eof()
    assert await server.receive_some(1) == b"b"
    assert await server.receive_some() == b"c"
    assert await server.receive_some() == b""
    assert await client.receive_some() == b""


async def test_parts_arrive_in_order_whatever_their_sizes() -> None:
    client, server = await tls_pair()
    parts = [b"head", b"er", bytes(range(256)) * 100, memoryview(b"abc"), bytearray(5000), b"end"]
    assert await client.send_parts([]) is False
    await client.send_parts(parts)
    await client.send_eof()
    assert await read_all(server) == b"".join(parts)
    with pytest.raises(trio.ClosedResourceError):
        await client.send_parts(parts)
