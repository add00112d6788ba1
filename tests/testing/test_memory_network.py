# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing

from mezite.testing.memory_network import PIPE_BYTES, MemoryNetwork, MemoryStream


async def connect(network: MemoryNetwork) -> tuple[MemoryStream, MemoryStream]:
    async with network.listen("hub:1") as listener:
        dialled = await network.dial("hub:1", source="agent")
        return dialled, await listener.accept()


async def test_streams_pass_the_conformity_suite() -> None:
    async def make() -> tuple[MemoryStream, MemoryStream]:
        return await connect(MemoryNetwork())

    async def make_clogged() -> tuple[MemoryStream, MemoryStream]:
        a, b = await make()
        await a.send_all(bytes(PIPE_BYTES))
        await b.send_all(bytes(PIPE_BYTES))
        return a, b

    await trio.testing.check_half_closeable_stream(make, make_clogged)


async def test_ends_know_their_addresses() -> None:
    a, b = await connect(MemoryNetwork())
    assert a.peer_address == b.local_address == "hub:1"
    assert a.local_address == b.peer_address == "agent:40001"


async def test_dialling_nobody_is_refused() -> None:
    network = MemoryNetwork()
    with pytest.raises(ConnectionRefusedError):
        await network.dial("hub:1")
    async with network.listen("hub:1"):
        with pytest.raises(OSError, match="in use"):
            network.listen("hub:1")
    with pytest.raises(ConnectionRefusedError):
        await network.dial("hub:1")


async def test_a_closed_listener_wakes_its_acceptor_and_resets_the_backlog() -> None:
    network = MemoryNetwork()
    listener = network.listen("hub:1")
    waiting = await network.dial("hub:1")
    await listener.aclose()
    assert await waiting.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await waiting.send_all(b"x")

    listener = network.listen("hub:1")
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def acceptor() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        await trio.testing.wait_all_tasks_blocked()
        await listener.aclose()


async def test_a_sender_feels_a_receiver_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    a, b = await connect(MemoryNetwork())
    with trio.move_on_after(5) as scope:
        await a.send_all(bytes(PIPE_BYTES + 1))
    assert scope.cancelled_caught
    received = 0
    while received < PIPE_BYTES:
        received += len(await b.receive_some(10_000))
    assert received == PIPE_BYTES


async def test_latency_delays_and_keeps_order(autojump_clock: trio.testing.MockClock) -> None:
    a, b = await connect(MemoryNetwork(latency=0.5))
    start = trio.current_time()
    await a.send_all(b"one")
    await a.send_all(b"two")
    await a.send_eof()
    got = b""
    while data := await b.receive_some(2):
        got += data
    assert got == b"onetwo"
    assert trio.current_time() - start == pytest.approx(0.5)


async def test_a_partition_is_silent_and_heals_without_loss(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    a, b = await connect(network)
    network.cut("agent", "hub")
    assert network.is_cut("hub", "agent")
    await a.send_all(b"late")
    with trio.move_on_after(100) as scope:
        await b.receive_some()
    assert scope.cancelled_caught

    async with network.listen("hub:2") as listener, trio.open_nursery() as nursery:
        nursery.start_soon(listener.accept)

        @nursery.start_soon
        async def dial_during_partition() -> None:
            stream = await network.dial("hub:2", source="agent")
            assert trio.current_time() >= healing_time
            await stream.aclose()

        healing_time = trio.current_time() + 30
        await trio.sleep(30)
        network.heal()
        assert await b.receive_some() == b"late"


async def test_a_reset_is_an_error_at_both_ends() -> None:
    network = MemoryNetwork()
    a, b = await connect(network)
    await a.send_all(b"lost")
    assert network.reset_links("agent") == 1
    for end in (a, b):
        with pytest.raises(trio.BrokenResourceError):
            await end.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await end.send_all(b"x")
    assert network.reset_links("elsewhere") == 0


async def test_a_vanished_host_leaves_a_half_open_connection(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    a, b = await connect(network)
    assert network.vanish("agent") == 1
    with pytest.raises(trio.ClosedResourceError):
        await a.receive_some()
    await b.send_all(b"swallowed")
    with trio.move_on_after(1000) as scope:
        await b.receive_some()
    assert scope.cancelled_caught
    with trio.move_on_after(1000) as scope:
        await b.send_all(bytes(2 * PIPE_BYTES))
    assert scope.cancelled_caught
    assert network.open_links == 1
    await b.aclose()
    assert network.open_links == 0
