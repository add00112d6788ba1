# SPDX-License-Identifier: Apache-2.0
"""The connection layer against clients that break its rules."""

import signal
import subprocess
import threading

import pytest
import trio

from mezite.ssh.errors import ConnectionLostError, PeerProtocolError
from mezite.ssh.limits import SshLimits
from mezite.ssh.policy import ChannelKind
from mezite.ssh.wire import string, uint32
from tests.ssh.peers import running_node
from tests.ssh.raw_client import raw_client, wait_thread

pytestmark = pytest.mark.e2e

SMALL = SshLimits(
    channel_window_bytes=64 * 1024, connection_window_bytes=4 * 64 * 1024, sessions=3, channels=4
)


def data(channel: int, content: bytes) -> tuple[bytes, ...]:
    return b"\x5e", uint32(channel), string(content)


async def test_receive_window_is_enforced(spawner):
    """Stock paramiko buffers whatever arrives in a channel that nobody reads."""
    async with raw_client(spawner, limits=SMALL) as client:
        await client.login()
        channel = await client.open_session()
        await client.send(*data(channel, bytes(32 * 1024)))
        await client.send(*data(channel, bytes(32 * 1024)))
        await client.send(*data(channel, b"x"))
        assert str(await client.wait_served()) == "more data than the channel's window allows"


async def test_extended_data_counts_and_is_granted_again(spawner):
    async with raw_client(spawner, limits=SMALL) as client:
        await client.login()
        channel = await client.open_session()
        for _ in range(4):
            await client.send(b"\x5f", uint32(channel), uint32(1), string(bytes(16 * 1024)))
            await client.receive(93)
        await client.send(b"\x5f", uint32(channel), uint32(1), string(bytes(64 * 1024 + 1)))
        assert "window" in str(await client.wait_served())


async def test_sessions_and_windows_are_limited(spawner):
    async with raw_client(spawner, limits=SMALL) as client:
        await client.login()
        for number in range(3):
            await client.open_session(number=number)
        with pytest.raises(Exception, match="3 sessions are open already"):
            await client.open_session(number=3)
        await client.send(b"\x61", uint32(0))
        await client.receive(97)
        assert await client.open_session(number=4) == 3  # numbers are never used twice


async def test_channels_are_limited(spawner):
    limits = SshLimits(channels=2)
    async with raw_client(spawner, limits=limits) as client:
        await client.login()
        for number in range(2):
            await client.open_session(number=number)
        with pytest.raises(Exception, match="too many channels"):
            await client.open_session(number=2)


async def test_window_budget_of_a_connection(spawner):
    limits = SshLimits(connection_window_bytes=3 * 1024 * 1024)
    async with raw_client(spawner, limits=limits) as client:
        await client.login()
        await client.open_session()
        with pytest.raises(Exception, match="too much may be in flight"):
            await client.open_session(number=1)


async def test_many_refused_opens_leave_nothing(spawner):
    """A8."""
    async with raw_client(spawner) as client:
        client.policy.denied = {ChannelKind.SESSION}
        await client.login()

        def open_many() -> None:
            for number in range(2000):
                client.send_now(b"\x5a", string("session"), uint32(number), uint32(1), uint32(1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_thread, open_many)
            for _ in range(2000):
                await client.receive(92)
        client.policy.denied = set()
        assert await client.open_session() == 0


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ((b"\x5e", uint32(9), string(b"x")), "never existed"),
        ((b"\x5b", uint32(0), uint32(0), uint32(0), uint32(0)), "confirmation of a channel nobody asked for"),
        ((b"\x5c", uint32(0)), "refusal of a channel nobody asked for"),
        ((b"\x5d", uint32(0), uint32(0xFFFFFFFF)), "window above 4 GiB"),
        ((b"\x5a", string("session"), uint32(1)), "shorter than its fields"),
        ((b"\x5a", string(b"\xff"), uint32(1), uint32(1), uint32(1)), "not UTF-8"),
        ((b"\x5a", string("session"), uint32(1), uint32(1), uint32(0)), "maximum packet size of 0"),
        ((b"\x7f",), "message 127 is not part of the connection protocol"),
    ],
)
async def test_messages_that_make_no_sense(spawner, fields, reason):
    async with raw_client(spawner) as client:
        await client.login()
        await client.open_session()
        await client.send(*fields)
        error = await client.wait_served()
        assert isinstance(error, PeerProtocolError)
        assert reason in str(error)


async def test_message_after_close_is_ignored(spawner):
    """Paramiko clients send a last window for a closed channel."""
    async with raw_client(spawner) as client:
        await client.login()
        channel = await client.open_session()
        await client.send(b"\x61", uint32(channel))
        await client.receive(97)
        await client.send(b"\x5d", uint32(channel), uint32(5))
        assert await client.open_session(number=1) == 1


async def test_unsolicited_replies_are_dropped(spawner):
    """A8."""
    async with raw_client(spawner) as client:
        await client.login()
        channel = await client.open_session()
        for kind in (81, 82, 99, 100):
            await client.send(bytes((kind,)), uint32(channel))
        await client.send(b"\x50", string("unknown"), b"\1")
        assert (await client.receive())[0] == 82


async def test_unknown_channels_and_requests_are_refused(spawner):
    async with raw_client(spawner) as client:
        await client.login()
        await client.send(b"\x5a", string("x11"), uint32(0), uint32(1), uint32(1))
        assert (await client.receive(92))[5:9] == uint32(3)
        channel = await client.open_session()
        for name in ("x11-req", "auth-agent-req@openssh.com", "nonsense", "window-change", "signal"):
            fields = (string("INT"),) if name == "signal" else (bytes(16),)
            await client.request(channel, name, *fields, reply=True)
            assert (await client.receive(99, 100))[0] == 100, name


async def test_promise_of_no_more_sessions_is_kept(spawner):
    async with raw_client(spawner) as client:
        await client.login()
        await client.send(b"\x50", string("no-more-sessions@openssh.com"), b"\1")
        assert (await client.receive())[0] == 81
        await client.send(b"\x5a", string("session"), uint32(0), uint32(1), uint32(1))
        assert "promise" in str(await client.wait_served())


async def test_exit_status_comes_before_the_end_of_the_output(spawner):
    """After both EOFs clients close at once and would miss it (4 of 44 sessions with stock paramiko)."""
    async with raw_client(spawner) as client:
        await client.login()
        channel = await client.open_session()
        await client.request(channel, "exec", string("exit 3"))
        await client.receive(97)
        kinds = [message[0] for message in client.messages[1:]]
        assert kinds == [98, 96, 97]
        assert client.messages[1].endswith(uint32(3))


async def test_signal_by_request(spawner):
    async with raw_client(spawner) as client:
        await client.login()
        channel = await client.open_session()
        await client.request(channel, "exec", string("trap 'exit 4' USR1; while :; do sleep 0.02; done"))
        await client.request(channel, "signal", string("SEGFAULT"), reply=True)
        assert (await client.receive(99, 100))[0] == 100
        await client.hooks.wait_for(lambda: client.hooks.started)
        await client.request(channel, "signal", string("TERM"), reply=True)
        assert (await client.receive(99, 100))[0] == 99
        await client.hooks.wait_for(lambda: client.hooks.ended)
        assert client.hooks.ended[0][1].signal == "TERM"


async def test_second_program_in_a_channel_is_refused(spawner):
    async with raw_client(spawner) as client:
        await client.login()
        channel = await client.open_session()
        await client.request(channel, "exec", string("true"), reply=True)
        await client.request(channel, "exec", string("true"), reply=True)
        assert [(await client.receive(99, 100))[0] for _ in range(2)] == [99, 100]


async def test_slow_dial_does_not_hold_up_the_connection(spawner):
    """Deferred open: stock paramiko dials on the thread that serves all channels."""
    async with raw_client(spawner) as client:
        await client.login()
        client.hooks.gate = trio.Event()
        await client.send(
            *(b"\x5a", string("direct-tcpip"), uint32(7), uint32(1 << 20), uint32(32768)),
            *(string("127.0.0.1"), uint32(9), string("127.0.0.1"), uint32(1)),
        )
        await client.hooks.wait_for(lambda: client.hooks.waiting)
        client.hooks.gate, gate = None, client.hooks.gate
        channel = await client.open_session()
        await client.request(channel, "exec", string("echo meanwhile"))
        assert (await client.receive(94)).endswith(b"meanwhile\n")
        gate.set()
        refusal = await client.receive(92)
        assert refusal[1:9] == uint32(7) + uint32(2)
        assert b"Connection refused" in refusal


async def test_peer_that_asks_and_does_not_read_is_not_buffered_for(spawner):
    """Replies are bounded: the server stops reading such a peer."""
    async with raw_client(spawner, limits=SshLimits(reply_bytes=32 * 1024)) as client:
        transport = await client.login()
        reading = threading.Event()
        transport.packetizer.read_message = reading.wait
        asked = 0

        def ask() -> None:
            nonlocal asked
            for _ in range(60_000):
                client.send_now(b"\x50", string("x" * 100), b"\1")
                asked += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_thread, ask)
            last = -1
            while asked != last:  # until nothing moves
                last = asked
                await trio.testing.wait_all_tasks_blocked(0.3)
            assert 0 < asked < 20_000
            transport.active = False
            reading.set()
            nursery.cancel_scope.cancel()


async def test_dead_client_is_noticed(tmp_path, spawner):
    """Our own keep-alive wants answers; stock paramiko's never notices a dead client."""
    limits = SshLimits(keepalive_seconds=0.25, keepalive_missed=3)
    async with running_node(tmp_path, spawner, limits=limits) as node:
        command = node.command("echo up; cat")
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert await process.stdout.receive_some() == b"up\n"
        await node.ssh("sleep 1.5")
        assert node.errors == []  # it answers
        process.send_signal(signal.SIGSTOP)
        await node.hooks.wait_for(lambda: node.errors)
        assert isinstance(node.errors[0], ConnectionLostError)
        assert "no sign of life" in str(node.errors[0])
        process.kill()
        await process.wait()


async def test_idle_connection_costs_no_wakeups_and_ends_at_once(spawner):
    """The poll is 5 s instead of 0.1: closing wakes the thread, not the poll."""
    async with raw_client(spawner) as client:
        transport = await client.login()
        assert transport._active_check_timeout == 0.1  # the client's, for comparison
        (server,) = (thread for thread in threading.enumerate() if thread.name == "mezite-ssh")
        assert server._active_check_timeout >= 5
        with trio.fail_after(1):
            await wait_thread(client.sock.shutdown, 2)
            await client.served.wait()
        assert not server.is_alive()


async def test_policy_that_fails_denies(spawner):
    async with raw_client(spawner) as client:
        await client.login()
        client.policy.asked = None  # a bug in the policy
        with pytest.raises(Exception, match="the policy failed"):
            await client.open_session()


async def test_a_connection_that_carries_nothing_ends(tmp_path, spawner):
    """Signs of life are no data, and the client is told why; one that carries something goes on."""
    limits = SshLimits(keepalive_seconds=0.1, idle_seconds=1)
    async with running_node(tmp_path, spawner, limits=limits) as node:
        result = await node.ssh("for i in $(seq 15); do echo $i; sleep 0.1; done; sleep 60")
        assert result.stdout.split()[-1] == b"15"
        assert result.returncode == 255
        assert b"nothing was sent for 1s, which is as long as your roles allow" in result.stderr
        await node.hooks.wait_for(lambda: node.hooks.ended)
        assert "nothing was sent" in node.hooks.ended[0][1].error
