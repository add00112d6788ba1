# SPDX-License-Identifier: Apache-2.0
"""The transport against stock clients and against clients that break the rules."""

import os

import pytest
import trio

from mezite.ssh.errors import ConnectionLostError, PeerProtocolError
from mezite.ssh.limits import SshLimits, StartupLimiter
from mezite.ssh.mailbox import Mailbox, TrioWaker
from mezite.ssh.thread_bridge import ThreadBridge
from mezite.ssh.transport import ServerTransport
from mezite.ssh.wire import string, uint32
from tests.ssh.peers import Authority, client_config, openssh_public, run, running_node
from tests.ssh.raw_client import raw_client, wait_thread

QUICK = SshLimits(login_grace_seconds=0.2)


async def read_all(sock) -> bytes:
    """Until the server closes."""
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock.dup()))
    data = b""
    with trio.fail_after(10):
        async with stream:
            try:
                async for chunk in stream:
                    data += chunk
            except trio.BrokenResourceError:
                pass
    return data


# ---- before authentication ------------------------------------------------------------------------------


async def test_banner_looks_like_openssh():
    """Or stock clients do not send eow and no-more-sessions."""
    async with raw_client(limits=QUICK) as client:
        assert (await read_all(client.sock)).startswith(b"SSH-2.0-OpenSSH_")


async def test_packet_length_is_bounded_before_authentication():
    """A6: stock paramiko buffers what is announced, up to 2 GiB; here four bytes are enough to hang up."""
    async with raw_client() as client:
        client.sock.sendall(b"SSH-2.0-x\r\n" + (0x7FFFFFF4).to_bytes(4, "big"))
        error = await client.wait_served()
        assert isinstance(error, PeerProtocolError)
        assert "more than 35000" in str(error)


async def test_banner_without_a_line_end_is_bounded():
    async with raw_client() as client:
        client.sock.sendall(b"SSH-2.0-" + b"x" * 300)
        assert "longer than 255 bytes" in str(await client.wait_served())


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"SSH-1.5-old", b"SSH-2.0-\xff"])
async def test_first_line_of_another_protocol(line):
    async with raw_client() as client:
        client.sock.sendall(line + b"\r\n")
        assert isinstance(await client.wait_served(), PeerProtocolError)


@pytest.mark.parametrize("data", [b"", b"SSH-2.0-x\r\n", b"SSH-2.0-x\r\n\0\0\1"])
async def test_login_grace_before_the_key_exchange(data):
    """A11: silent, banner only, half a packet."""
    async with raw_client(limits=QUICK) as client:
        client.sock.sendall(data)
        error = await client.wait_served()
        assert isinstance(error, ConnectionLostError)
        assert "login took too long" in str(error)


async def test_login_grace_after_the_key_exchange():
    """A11: stock paramiko has no timer once the keys are exchanged."""
    async with raw_client(limits=QUICK) as client:
        await client.handshake()
        assert "login took too long" in str(await client.wait_served())


async def test_startup_limiter_is_asked_first_and_freed_by_login():
    limiter = StartupLimiter(total=1)
    async with raw_client(startup=limiter) as client:
        await client.handshake()
        assert limiter.pending == 1
        async with raw_client(startup=limiter) as second:
            assert "1 connections have not authenticated yet" in str(await second.wait_served())
        await client.login()
        assert limiter.pending == 0
    assert limiter.pending == 0


async def test_message_of_a_later_phase_ends_the_connection():
    """A1: a channel before authentication."""
    async with raw_client() as client:
        await client.handshake()
        await client.send(b"\x5a", string("session"), uint32(0), uint32(1), uint32(1))
        assert str(await client.wait_served()) == "message 90 before authentication"


STRICT = {"agreed_on_strict_kex": True}
PHASES = {
    "start": ({"_expected_packet": (20,)}, {1, 2, 3, 4, 20}),
    "exchange": ({"_expected_packet": (30,), **STRICT}, {1, 30}),
    "new keys": ({"_expected_packet": (21,), **STRICT}, {1, 21}),
    "unauthenticated": ({"initial_kex_done": True, **STRICT}, {1, 2, 3, 4, 5, 7, 20, 50}),
    "authenticated": (
        {"initial_kex_done": True, "authenticated": True, **STRICT},
        set(range(256)) - {5, 7, 21, *range(30, 50)},
    ),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_every_message_in_every_phase(phase):
    """A1: whatever is not on the list of a phase ends the connection. What is on it, the other tests send."""
    state, allowed = PHASES[phase]
    transport = idle_transport()
    for name, value in state.items():
        setattr(transport, name, value)
    for number in set(range(256)) - allowed:
        with pytest.raises(PeerProtocolError, match=f"message {number} "):
            transport._receive(bytes((number,)))


async def test_unknown_messages_after_authentication_are_answered():
    transport = idle_transport()
    sent = []
    transport.authenticated = True
    transport.send_payload = sent.append
    transport._receive(bytes((192,)))
    transport._receive(bytes((50,)))  # to be ignored
    assert sent == [b"\x03" + uint32(0)]


def idle_transport() -> ServerTransport:
    """A transport whose thread does not run."""
    limits, wake, authority = SshLimits(), TrioWaker(), Authority()
    stream, _ = trio.testing.memory_stream_pair()
    return ServerTransport(
        ThreadBridge(stream, wake, limits),
        Mailbox(wake),
        wake,
        host=authority.host("node-1"),
        authenticate=authority.policy().authenticate,
        limits=limits,
    )


# ---- algorithms -----------------------------------------------------------------------------------------


@pytest.mark.e2e
@pytest.mark.parametrize("kex", ["curve25519-sha256", "curve25519-sha256@libssh.org"])
async def test_stock_client_agrees(tmp_path, spawner, kex):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh("true", options=("-v", "-o", f"KexAlgorithms={kex}"))
        assert result.returncode == 0
        log = result.stderr.decode()
        assert f"kex: algorithm: {kex}" in log
        assert "kex: host key algorithm: ssh-ed25519-cert-v01@openssh.com" in log
        assert "cipher: aes128-gcm@openssh.com" in log
        assert "resetting read seqnr" in log  # strict key exchange (A5)


@pytest.mark.e2e
@pytest.mark.parametrize("option", ["Ciphers=aes128-ctr", "KexAlgorithms=ecdh-sha2-nistp256"])
async def test_nothing_else_is_offered(tmp_path, spawner, option):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh("true", options=("-o", option))
        assert result.returncode == 255
        assert b"no matching" in result.stderr


async def test_post_quantum_exchange():
    """Stock clients of Debian 12 do not have it; paramiko prefers it."""
    async with raw_client() as client:
        transport = await client.handshake()
        assert "mlkem768x25519-sha256" in transport.seen_kex


@pytest.mark.e2e
async def test_host_certificate_of_another_authority_is_refused_by_clients(tmp_path, spawner):
    """A13: another authority, another name."""
    async with running_node(tmp_path, spawner) as node:
        (tmp_path / "known_hosts").write_text(f"@cert-authority * {openssh_public(Authority().ca)}\n")
        result = await node.ssh("true")
        assert result.returncode == 255
        client_config(tmp_path, node.authority, node.identity, node.port)
        result = await node.ssh("true", options=("-o", "HostKeyAlias=node-2"))
        assert result.returncode == 255
        assert (await node.ssh("true")).returncode == 0


# ---- key exchange while the connection is in use --------------------------------------------------------


@pytest.mark.e2e
async def test_rekey_stress(tmp_path, spawner):
    """Both sides exchange keys every few packets while sessions open, close and move data: stock paramiko stands
    still for 30 s as soon as it has to answer a request in the middle of an exchange.
    """
    limits = SshLimits(rekey_bytes=200_000)
    async with running_node(tmp_path, spawner, limits=limits) as node:
        control = ("-o", f"ControlPath={tmp_path}/mux", "-o", "RekeyLimit=300K")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, node.command(options=(*control, "-M", "-N")))
            while (await node.ssh(options=(*control, "-O", "check"))).returncode:
                pass
            done = []

            async def worker(number: int) -> None:
                data = os.urandom(300_000)
                for _ in range(3):
                    result = await node.ssh("cat; exit 5", options=control, data=data)
                    assert (result.returncode, result.stdout == data) == (5, True)
                done.append(number)

            async with trio.open_nursery() as workers:
                for number in range(3):
                    workers.start_soon(worker, number)
            assert sorted(done) == [0, 1, 2]
            assert node.connections == 1
            await node.ssh(options=(*control, "-O", "exit"))


async def test_nothing_but_key_exchange_leaves_during_one():
    """The client asks while its answer to our KEXINIT is outstanding. It is strict: a reply in the middle of the
    exchange ends it. All replies come afterwards, in order.
    """
    async with raw_client(limits=SshLimits(rekey_bytes=5000)) as client:
        await client.login()
        came, go_on = client.delay_exchanges()
        asked = 0
        while not came.is_set():
            await client.send(b"\x50", string("x" * 200), b"\1")
            asked += 1
        for _ in range(50):
            await client.send(b"\x50", string("x"), b"\1")
        channel_open = b"\x5a" + string("session") + uint32(0) + uint32(1) + uint32(1)
        await client.send(channel_open)
        go_on.set()
        replies = [(await client.receive())[0] for _ in range(asked + 51)]
        assert replies == [82] * (asked + 50) + [91]


async def test_replies_during_a_key_exchange_are_held_and_bounded():
    """A7: the server has begun an exchange, the peer does not answer and keeps asking."""
    async with raw_client(limits=SshLimits(rekey_bytes=5000)) as client:
        await client.login()
        client.ignore_exchanges()

        def ask() -> None:
            for _ in range(5000):
                client.send_now(b"\x50", string("x"), b"\1")

        await wait_thread(ask)
        assert "too much to answer during a key exchange" in str(await client.wait_served())


async def test_message_in_the_middle_of_an_exchange_the_peer_began():
    async with raw_client() as client:
        await client.login()
        client.start_exchange()
        await client.send(b"\x50", string("x"), b"\1")
        assert str(await client.wait_served()) == "message 80 in the middle of a key exchange"


async def test_key_exchange_has_a_deadline():
    """A7: the peer starts an exchange and falls silent."""
    async with raw_client(limits=SshLimits(key_exchange_seconds=0.2)) as client:
        await client.login()
        client.start_exchange()
        assert "key exchange took too long" in str(await client.wait_served())


@pytest.mark.e2e
async def test_data_waits_for_the_end_of_a_key_exchange(spawner):
    """A7: writers are blocked, not buffered, while the peer freezes in an exchange; then it is cut off."""
    limits = SshLimits(key_exchange_seconds=0.3, rekey_bytes=1_000_000)
    async with raw_client(spawner, limits=limits) as client:
        await client.login()
        client.ignore_exchanges()
        channel = await client.open_session(window=1 << 30)
        await client.request(channel, "exec", string("head -c 100000000 /dev/zero"))
        await client.hooks.wait_for(lambda: client.hooks.ended)
        assert 900_000 < client.hooks.ended[0][1].bytes_out < 2_000_000
        assert "key exchange took too long" in str(await client.wait_served())
