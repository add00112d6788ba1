# SPDX-License-Identifier: Apache-2.0
import logging
import subprocess
import sys
import textwrap

import pytest
import trio
import trio.testing

from mezite.net.accept_loop import (
    Connection,
    Handler,
    accept_waiting,
    first_leaf,
    serve_connections,
)
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
from mezite.net.fair_turns import FairTurns
from mezite.net.log_budget import LOG_BURST
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.memory_network import MemoryNetwork, MemoryStream
from mezite.testing.self_signed import self_signed_pem


class Server:
    """An accept loop on a memory network."""

    def __init__(self, nursery: trio.Nursery, limits: ConnectionLimits | None = None) -> None:
        self.nursery = nursery
        self.network = MemoryNetwork()
        self.limiter = ConnectionLimiter(limits or ConnectionLimits())

    async def start(self, handler: Handler) -> None:
        async def run(task_status: trio.TaskStatus[None]) -> None:
            await serve_connections(
                [self.network.listen("hub:1")],
                handler,
                name="test",
                limiter=self.limiter,
                task_status=task_status,
            )

        await self.nursery.start(run)

    async def dial(self, source: str = "client") -> MemoryStream:
        return await self.network.dial("hub:1", source=source)

    def assert_nothing_left(self) -> None:
        statistics = self.limiter.statistics()
        assert (statistics.connections, statistics.preauth) == (0, 0)


async def echo(connection: Connection) -> None:
    connection.established()
    async for data in connection.stream:
        await connection.stream.send_all(data)


async def assert_echoes(server: Server) -> None:
    stream = await server.dial()
    await stream.send_all(b"ping")
    assert await stream.receive_some() == b"ping"
    await stream.aclose()


async def test_a_handler_gets_a_connection_that_knows_its_ends() -> None:
    seen: list[Connection] = []

    async def look(connection: Connection) -> None:
        seen.append(connection)

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.start(look)
        stream = await server.dial("agent")
        assert await stream.receive_some() == b""  # the loop closes what the handler left open
        nursery.cancel_scope.cancel()
    (connection,) = seen
    assert (connection.peer_address, connection.local_address) == ("agent:40001", "hub:1")
    assert (connection.client_ip, connection.listener) == ("agent", "test")
    server.assert_nothing_left()


@pytest.mark.parametrize("kind", [ValueError, OSError, trio.BrokenResourceError, AssertionError])
async def test_a_handler_that_raises_at_any_checkpoint_hurts_nobody(
    kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """P3: one raising handler must not end the listener or another connection."""
    number = 0

    async def raise_at_nth_checkpoint(connection: Connection) -> None:
        nonlocal number
        number += 1
        if number > 20:
            await echo(connection)
        for _ in range(number):
            await trio.lowlevel.checkpoint()
        async with trio.open_nursery():
            raise kind("from the handler")

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.start(raise_at_nth_checkpoint)
        for _ in range(20):
            stream = await server.dial()
            assert await stream.receive_some() == b""
        await assert_echoes(server)
        nursery.cancel_scope.cancel()
    server.assert_nothing_left()


async def test_the_cause_is_in_the_log_and_a_flood_of_it_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """P4, P15: the traceback names both causes; repeats are counted."""

    async def fail_twice(connection: Connection) -> None:
        async def fail(text: str) -> None:
            raise LookupError(text)

        async with trio.open_nursery() as inner:
            inner.start_soon(fail, "first cause")
            inner.start_soon(fail, "second cause")

    with caplog.at_level(logging.DEBUG, "mezite.net.accept"):
        async with trio.open_nursery() as nursery:
            server = Server(nursery)
            await server.start(fail_twice)
            for _ in range(3 * LOG_BURST):
                assert await (await server.dial()).receive_some() == b""
            nursery.cancel_scope.cancel()
    assert "first cause" in caplog.text
    assert "second cause" in caplog.text
    assert len(caplog.records) == LOG_BURST


async def test_what_was_left_out_of_the_log_is_counted(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    async def fail(connection: Connection) -> None:
        raise LookupError("again")

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.start(fail)
        for _ in range(LOG_BURST + 7):
            await (await server.dial()).receive_some()
        await trio.sleep(60)
        await (await server.dial()).receive_some()
        nursery.cancel_scope.cancel()
    assert "(7 like records left out)" in caplog.records[-1].getMessage()


async def test_stalled_handshakes_cost_a_slot_for_less_than_thirty_seconds(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """A11, D14: 500 silent sockets; another client is not affected, and every slot comes back."""
    certificate, key = self_signed_pem()
    context = server_context(certificate, key, [])

    async def tls(connection: Connection) -> None:
        stream = TlsStream(connection.stream, context, server_side=True)
        if connection.client_ip != "fast":
            await stream.do_handshake()
        connection.established()
        await trio.sleep(100)

    async with trio.open_nursery() as nursery:
        server = Server(nursery, ConnectionLimits(max_preauth=10_000))
        await server.start(tls)
        stalled = [await server.dial(f"slow{number}") for number in range(500)]
        for number, stream in enumerate(stalled):
            await stream.send_all(b"\x16\x03\x01\x02\x00"[: number % 6])
        fast = await server.dial("fast")
        await trio.sleep(24)
        assert server.limiter.statistics().preauth == 500
        await trio.sleep(2)
        assert server.limiter.statistics().preauth == 0
        assert server.limiter.statistics().connections == 1
        for stream in stalled:
            assert await stream.receive_some() == b""
        await trio.sleep(100)
        assert await fast.receive_some() == b""
        server.assert_nothing_left()
        nursery.cancel_scope.cancel()


async def test_a_stranger_cannot_make_us_read_more_than_the_budget() -> None:
    async def read(connection: Connection) -> None:
        async for _ in connection.stream:
            pass

    async with trio.open_nursery() as nursery:
        server = Server(nursery, ConnectionLimits(preauth_bytes=1000))
        await server.start(read)
        stream = await server.dial()
        await stream.send_all(bytes(1001))
        assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()


async def test_an_established_connection_has_neither_budget_nor_deadline(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async def twice(connection: Connection) -> None:
        connection.established()
        await echo(connection)

    async with trio.open_nursery() as nursery:
        server = Server(nursery, ConnectionLimits(preauth_bytes=10))
        await server.start(twice)
        stream = await server.dial()
        await trio.sleep(1000)
        await stream.send_all(bytes(5000))
        got = 0
        while got < 5000:
            got += len(await stream.receive_some())
        assert server.limiter.statistics().preauth == 0
        nursery.cancel_scope.cancel()
    server.assert_nothing_left()


async def test_connections_over_a_limit_are_closed_at_once(caplog: pytest.LogCaptureFixture) -> None:
    async with trio.open_nursery() as nursery:
        server = Server(nursery, ConnectionLimits(max_connections_per_ip=2))
        await server.start(echo)
        kept = [await server.dial() for _ in range(2)]
        refused = [await server.dial() for _ in range(2 * LOG_BURST)]
        for stream in refused:
            assert await stream.receive_some() == b""
        for stream in kept:
            await stream.send_all(b"x")
            assert await stream.receive_some() == b"x"
        nursery.cancel_scope.cancel()
    assert "refused client:" in caplog.text
    assert server.limiter.statistics().refused == 2 * LOG_BURST
    server.assert_nothing_left()


async def test_draining_stops_the_accepting_only() -> None:
    async with trio.open_nursery() as connections:
        network = MemoryNetwork()
        limiter = ConnectionLimiter()
        async with trio.open_nursery() as accepting:

            async def run(task_status: trio.TaskStatus[None]) -> None:
                await serve_connections(
                    [network.listen("hub:1"), network.listen("hub:2")],
                    echo,
                    name="test",
                    limiter=limiter,
                    handler_nursery=connections,
                    task_status=task_status,
                )

            await accepting.start(run)
            stream = await network.dial("hub:2")
            await trio.testing.wait_all_tasks_blocked()
            accepting.cancel_scope.cancel()
        with pytest.raises(ConnectionRefusedError):
            await network.dial("hub:1")
        await stream.send_all(b"still served")
        assert await stream.receive_some() == b"still served"
        await stream.aclose()
    assert limiter.statistics().connections == 0


async def test_an_error_while_being_cancelled_stays_behind_the_wall() -> None:
    """P4: such a group mixes Cancelled and the error; only the former may pass."""

    async def fail_when_cancelled(connection: Connection) -> None:
        async with trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("clean-up failed")

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.start(fail_when_cancelled)
        await server.dial()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    server.assert_nothing_left()


async def test_what_is_no_exception_passes_the_wall() -> None:
    async def interrupt(connection: Connection) -> None:
        raise KeyboardInterrupt

    async def serve_one() -> None:
        async with trio.open_nursery() as nursery:
            server = Server(nursery)
            await server.start(interrupt)
            await server.dial()
            await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await serve_one()
    assert isinstance(first_leaf(caught.value), KeyboardInterrupt)


EMFILE_SCRIPT = """
    import logging, os, resource, socket, sys, trio
    from mezite.net.accept_loop import serve_connections
    from mezite.net.connection_limits import ConnectionLimiter

    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    logging.basicConfig(stream=sys.stdout, format="%(message)s")

    async def echo(connection):
        connection.established()
        async for data in connection.stream:
            await connection.stream.send_all(data)

    async def assert_alive(stream):
        await stream.send_all(b"?")
        assert await stream.receive_some() == b"?"

    async def main():
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        limiter = ConnectionLimiter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: serve_connections([listener], echo, name="few", limiter=limiter))
            first = await trio.open_tcp_stream("127.0.0.1", port)
            await assert_alive(first)
            # Raw sockets of this process: each takes one descriptor here and one in the server.
            hoard = []
            try:
                while True:
                    client = socket.socket()
                    client.connect(("127.0.0.1", port))
                    hoard.append(client)
                    await trio.sleep(0.002)
            except OSError as error:
                print("clients stopped by", error.errno)
            client.close()
            # All descriptors are gone; free one for a client, so that the accept is what fails.
            spare = hoard.pop()
            spare.close()
            late = socket.socket()
            late.connect(("127.0.0.1", port))
            late.settimeout(5)
            await trio.sleep(0.3)
            await assert_alive(first)
            for client in hoard:
                client.close()
            await trio.sleep(0.3)
            again = await trio.open_tcp_stream("127.0.0.1", port)
            await assert_alive(again)
            await assert_alive(first)
            print("alive")
            nursery.cancel_scope.cancel()

    trio.run(main)
"""


def test_out_of_descriptors_the_open_sessions_live_and_the_rest_comes_back() -> None:
    """P14, in a process of its own with RLIMIT_NOFILE 100."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(EMFILE_SCRIPT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("alive\n")
    complaints = [line for line in done.stdout.splitlines() if "cannot accept" in line]
    assert 1 <= len(complaints) <= LOG_BURST
    assert "EMFILE" in complaints[0]


async def test_all_who_wait_are_accepted_at_once() -> None:
    """D14: with one accept between two turns of all other tasks, the kernel's queue would only grow."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    address = listener.socket.getsockname()
    async with listener:
        clients = [await trio.open_tcp_stream(*address) for _ in range(5)]
        accepted = list(accept_waiting(listener))
        assert len(accepted) == 5
        assert list(accept_waiting(listener)) == []
        await clients[0].send_all(b"x")
        assert await accepted[0].receive_some() == b"x"
        for stream in (*clients, *accepted):
            await stream.aclose()


async def test_nobody_waits_where_there_is_no_socket() -> None:
    async with MemoryNetwork().listen("hub:1") as listener:
        assert list(accept_waiting(listener)) == []


async def test_strangers_take_turns_at_the_processor() -> None:
    """A11, T8: of a hundred hand-shakes that could go on, one does before others are looked at."""
    at_once = most = 0

    async def work(connection: Connection) -> None:
        nonlocal at_once, most
        async with connection.turn():
            at_once += 1
            most = max(most, at_once)
            await trio.lowlevel.checkpoint()
            at_once -= 1
        await connection.stream.send_all(b"done")

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        await server.start(work)
        for stream in [await server.dial(f"client{number}") for number in range(100)]:
            assert await stream.receive_some() == b"done"
        nursery.cancel_scope.cancel()
    assert most == 1


async def test_who_asks_for_too_many_turns_goes(caplog: pytest.LogCaptureFixture) -> None:
    """A11: the queue is bounded; that is no news for the log."""
    limiter = ConnectionLimiter()
    limiter.turns = FairTurns(running=1, waiting=1)
    release = trio.Event()

    async def work(connection: Connection) -> None:
        async with connection.turn():
            await release.wait()

    async with trio.open_nursery() as nursery:
        server = Server(nursery)
        server.limiter = limiter
        await server.start(work)
        streams = [await server.dial() for _ in range(3)]
        await trio.testing.wait_all_tasks_blocked()
        assert limiter.statistics().connections == 2
        release.set()
        for stream in streams:
            assert await stream.receive_some() == b""
        nursery.cancel_scope.cancel()
    assert not caplog.records
