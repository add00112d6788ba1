# SPDX-License-Identifier: Apache-2.0
"""Stock ssh forwarding TCP through the node server."""

import contextlib
import os
import socket

import pytest
import trio

from mezite.ssh.forwarding import describe_dial_error, format_target
from mezite.ssh.limits import SshLimits
from mezite.ssh.policy import ChannelKind, Permissions
from mezite.ssh.wire import string, uint32
from mezite.testing.ports import free_port
from tests.ssh.peers import Server, listening, run, running_node
from tests.ssh.raw_client import certified_key, raw_client

pytestmark = pytest.mark.e2e


async def echo(stream: trio.SocketStream) -> None:
    """Everything back after the end of input: needs a half-close that is passed on."""
    data = b""
    async for chunk in stream:
        data += chunk
    await stream.send_all(data)
    await stream.send_eof()


async def converse(port: int, data: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(data)
        await stream.send_eof()
        return b"".join([bytes(chunk) async for chunk in stream])


@contextlib.asynccontextmanager
async def forwarding_client(node: Server, *options: str, port: int):
    """``ssh -N`` for the block, ready when ``port`` answers."""
    process = await trio.lowlevel.open_process(
        node.command(options=("-N", "-o", "ExitOnForwardFailure=yes", *options))
    )
    try:
        with trio.fail_after(10):
            while True:
                try:
                    stream = await trio.open_tcp_stream("127.0.0.1", port)
                except OSError:
                    assert process.returncode is None
                    await trio.testing.wait_all_tasks_blocked(0.01)
                else:
                    await stream.aclose()
                    break
        yield process
    finally:
        process.terminate()
        await process.wait()


async def test_local_forward(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        port = free_port()
        options = ("-L", f"{port}:127.0.0.1:{target}")
        async with forwarding_client(node, *options, port=port):
            data = os.urandom(5_000_000)
            assert await converse(port, data) == data
        assert (ChannelKind.DIRECT_TCPIP, f"127.0.0.1:{target}") in node.policy.asked
        # Others end too, with nothing moved: the probe that found the port open, and any process of the machine
        # that tries this port meanwhile.
        await node.hooks.wait_for(lambda: (len(data), len(data)) in moved_bytes(node))
        assert sum(count for moved in moved_bytes(node) for count in moved) == 2 * len(data)


def moved_bytes(node: Server) -> list[tuple[int, int]]:
    """In and out, for each connection forwarded from the node that has ended."""
    assert {info.kind for info, _ in node.hooks.ended} <= {ChannelKind.DIRECT_TCPIP}
    return [(outcome.bytes_in, outcome.bytes_out) for _, outcome in node.hooks.ended]


async def test_stdio_forward(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        result = await run(node.command(options=("-W", f"127.0.0.1:{target}")), data=b"hello")
        assert result.stdout == b"hello"


async def test_why_a_connection_failed_is_told(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        port = free_port()
        result = await run(node.command(options=("-W", f"localhost:{port}")))
        assert result.returncode == 255
        assert b"open failed: connect failed: Connection refused" in result.stderr


@pytest.mark.parametrize("address", ["nowhere.invalid:80", "127.0.0.1:70000"])
async def test_addresses_that_are_none(tmp_path, spawner, address):
    async with running_node(tmp_path, spawner) as node:
        result = await run(node.command(options=("-W", address)))
        assert result.returncode == 255


async def test_dynamic_forward(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        port = free_port()
        async with (
            forwarding_client(node, "-D", str(port), port=port),
            await trio.open_tcp_stream("127.0.0.1", port) as stream,
        ):
            await stream.send_all(b"\x05\x01\x00")
            assert await stream.receive_some(2) == b"\x05\x00"
            await stream.send_all(b"\x05\x01\x00\x01\x7f\0\0\1" + target.to_bytes(2, "big"))
            assert (await stream.receive_some(10))[:2] == b"\x05\x00"
            await stream.send_all(b"x")
            await stream.send_eof()
            assert await stream.receive_some() == b"x"


async def test_remote_forward_is_bound_to_loopback(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        port = free_port()
        options = ("-R", f"0.0.0.0:{port}:127.0.0.1:{target}")
        async with forwarding_client(node, *options, port=port):
            data = os.urandom(1_000_000)
            assert await converse(port, data) == data
            listeners = await trio.run_process(["ss", "-Htln", f"sport = :{port}"], capture_stdout=True)
            assert f"127.0.0.1:{port}".encode() in listeners.stdout
            assert b"0.0.0.0:" not in listeners.stdout.split(b"Peer")[0].split()[3]
        await node.hooks.wait_for(lambda: not node.active)
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream("127.0.0.1", port)


async def test_remote_forward_with_a_port_of_our_choice(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        control = ("-o", f"ControlPath={tmp_path}/mux")
        port = free_port()
        async with forwarding_client(node, *control, "-M", "-L", f"{port}:127.0.0.1:{target}", port=port):
            remote = f"0:127.0.0.1:{target}"
            result = await node.ssh(options=(*control, "-O", "forward", "-R", remote))
            bound = int(result.stdout)
            assert await converse(bound, b"abc") == b"abc"
            await node.ssh(options=(*control, "-O", "cancel", "-R", f"{bound}:127.0.0.1:{target}"))


async def test_no_forwarding_without_permission(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        node.policy.permissions = Permissions(pty=True)
        result = await run(node.command(options=("-W", f"127.0.0.1:{target}")))
        assert result.returncode == 255
        assert b"port forwarding is not permitted" in result.stderr
        remote = f"{free_port()}:127.0.0.1:{target}"
        result = await node.ssh("true", options=("-R", remote, "-o", "ExitOnForwardFailure=yes"))
        assert result.returncode == 255
        await node.hooks.wait_for(lambda: len(node.hooks.refusals) == 2)
        kinds = [refusal.kind for refusal in node.hooks.refusals]
        assert kinds == [ChannelKind.DIRECT_TCPIP, ChannelKind.TCPIP_FORWARD]


async def test_each_target_is_asked_about(tmp_path, spawner):
    """A12: the policy sees the concrete target of each channel."""
    async with running_node(tmp_path, spawner) as node:
        node.policy.denied = {ChannelKind.DIRECT_TCPIP}
        result = await run(node.command(options=("-W", "169.254.169.254:80")))
        assert b"denied by policy" in result.stderr
        assert node.policy.asked == [(ChannelKind.DIRECT_TCPIP, "169.254.169.254:80")]


async def test_forward_that_cannot_be_recorded(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, listening(echo) as target:
        node.hooks.fail = True
        result = await run(node.command(options=("-W", f"127.0.0.1:{target}")))
        assert b"could not be recorded" in result.stderr


def test_targets_of_both_address_families():
    assert format_target("db", 5432) == "db:5432"
    assert format_target("::1", 80) == "[::1]:80"


def test_reasons_of_failed_dials():
    assert describe_dial_error(trio.TooSlowError()) == "Connection timed out"
    error = OSError("all attempts failed")
    error.__cause__ = ExceptionGroup("many", [ConnectionRefusedError(111, "Connection refused")])
    assert describe_dial_error(error) == "Connection refused"
    error.__cause__ = KeyboardInterrupt()
    assert describe_dial_error(error) == "all attempts failed"


# ---- with clients that ask for odd things ---------------------------------------------------------------


async def test_ports_that_may_not_be_listened_on():
    async with raw_client(limits=SshLimits(forward_listeners=1)) as client:
        await client.login()
        client.policy.denied = {ChannelKind.TCPIP_FORWARD}
        assert await client.global_request("tcpip-forward", string(""), uint32(0)) == b"\x52"
        client.policy.denied = set()
        assert await client.global_request("tcpip-forward", string(""), uint32(70000)) == b"\x52"
        assert await client.global_request("tcpip-forward", string("x" * 300), uint32(0)) == b"\x52"
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = uint32(taken.getsockname()[1])
            assert await client.global_request("tcpip-forward", string(""), port) == b"\x52"
        granted = await client.global_request("tcpip-forward", string(""), uint32(0))
        assert granted[0] == 81
        assert await client.global_request("tcpip-forward", string(""), uint32(0)) == b"\x52"  # one is all
        # A12: only what this connection listens on can be cancelled.
        assert await client.global_request("cancel-tcpip-forward", string(""), uint32(1)) == b"\x52"
        assert await client.global_request("cancel-tcpip-forward", string(""), granted[1:]) == b"\x51"


async def test_a_port_that_cannot_be_recorded_is_given_back():
    """Threat H2: nothing is served unrecorded, and what is not served does not use up what a client may have."""
    async with raw_client(limits=SshLimits(forward_listeners=1)) as client:
        await client.login()
        client.hooks.fail = True
        granted = await client.global_request("tcpip-forward", string(""), uint32(0))
        await trio.testing.wait_all_tasks_blocked(0.05)
        with pytest.raises(OSError, match="all attempts"):
            await trio.open_tcp_stream("127.0.0.1", int.from_bytes(granted[1:], "big"))
        client.hooks.fail = False
        assert (await client.global_request("tcpip-forward", string(""), uint32(0)))[0] == 81


async def test_low_ports_are_roots():
    async with raw_client() as client:
        await client.login(certified_key(client.authority, "daemon"), "daemon")
        assert await client.global_request("tcpip-forward", string(""), uint32(80)) == b"\x52"
        await client.hooks.wait_for(lambda: client.hooks.refusals)
        assert "root's" in client.hooks.refusals[0].message


@pytest.mark.parametrize("answer", [b"\x5c", None])
async def test_client_that_does_not_want_a_forwarded_connection(answer):
    async with raw_client(limits=SshLimits(channels=1)) as client:
        await client.login()
        granted = await client.global_request("tcpip-forward", string(""), uint32(0))
        port = int.from_bytes(granted[1:], "big")
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            opened = await client.receive(90)
            assert b"forwarded-tcpip" in opened
            async with await trio.open_tcp_stream("127.0.0.1", port) as second:
                assert await second.receive_some() == b""  # one channel is all
            if answer is not None:
                await client.send(answer, uint32(0), uint32(1), string(""), string(""))
            else:
                client.sock.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""


async def test_no_room_for_a_connection_that_stands():
    limits = SshLimits(channel_window_bytes=65536, connection_window_bytes=65536)
    async with raw_client(limits=limits) as client, listening(echo) as target:
        await client.login()
        assert (await client.open_direct("127.0.0.1", target))[0] == 91
        refusal = await client.open_direct("127.0.0.1", target, number=1)
        assert refusal[:9] == b"\x5c" + uint32(1) + uint32(4)


async def test_target_that_does_not_answer():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        async with raw_client(limits=SshLimits(dial_seconds=0.2)) as client:
            await client.login()
            port = silent.getsockname()[1]
            async with contextlib.AsyncExitStack() as fill:  # the queue of connections
                for _ in range(2):
                    with trio.move_on_after(0.1):
                        await fill.enter_async_context(await trio.open_tcp_stream("127.0.0.1", port))
                assert b"Connection timed out" in await client.open_direct("127.0.0.1", port)
