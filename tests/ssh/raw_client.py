# SPDX-License-Identifier: Apache-2.0
"""A client that can say anything: paramiko over a socket pair, with its messages in the test's hands."""

from __future__ import annotations

import contextlib
import io
import queue
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable

import attrs
import paramiko
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mezite.ssh.errors import SshError
from mezite.ssh.jump_server import JumpService, OpenNode, serve_jump_ssh
from mezite.ssh.limits import SshLimits
from mezite.ssh.node_server import NodeService, serve_node_ssh
from mezite.ssh.policy import PeerAddress
from mezite.ssh.spawn import ProcessSpawner
from mezite.ssh.wire import boolean, string, uint32
from tests.ssh.peers import ME, Authority, Recorder, TestPolicy, issue

PEER = PeerAddress(client_ip="192.0.2.1", client_port=4711)


class RawTransport(paramiko.Transport):
    """Hands every message of the connection protocol to the test instead of acting on it."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.inbox: queue.Queue[bytes | None] = queue.Queue()
        self.intercept = False
        self.name = "raw-client"

    def _parse_kex_init(self, m):
        super()._parse_kex_init(m)
        self.seen_kex = type(self.kex_engine).name

    def _ensure_authed(self, ptype, message):
        if self.intercept and 80 <= ptype < 128:
            payload = bytes((ptype,)) + message.get_remainder()
            self.inbox.put(payload)
            return paramiko.Message(b"\x02" + string(b""))  # an IGNORE instead of an action
        return super()._ensure_authed(ptype, message)

    def run(self):
        # Channel messages go to the test as well, by way of the other table.
        self._channel_handler_table = {}
        for kind in range(80, 128):
            self._handler_table[kind] = lambda message: None
        super().run()
        self.inbox.put(None)


def certified_key(authority: Authority, login: str = ME) -> paramiko.PKey:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    loaded = paramiko.Ed25519Key.from_private_key(io.StringIO(pem.decode()))
    loaded.load_certificate(issue(authority.ca, key, [login]).public_bytes().decode())
    return loaded


@attrs.define
class RawClient:
    """The client's end, and what the server made of the connection."""

    sock: socket.socket
    authority: Authority
    policy: TestPolicy
    hooks: Recorder
    error: BaseException | None = None
    served: trio.Event = attrs.field(factory=trio.Event)
    transport: RawTransport | None = None
    messages: list[bytes] = attrs.field(factory=list)

    async def handshake(self) -> RawTransport:
        """Exchange keys; nothing more."""
        self.transport = RawTransport(self.sock)
        done = threading.Event()
        self.transport.start_client(event=done)
        await wait_thread(done.wait, 10)
        if not self.transport.is_active():
            raise self.transport.get_exception() or EOFError()
        return self.transport

    async def login(self, key: paramiko.PKey | None = None, login: str = ME) -> RawTransport:
        """Exchange keys, unless that is done, and authenticate; from now on messages come to :meth:`receive`."""
        transport = self.transport or await self.handshake()
        transport.intercept = True
        await wait_thread(transport.auth_publickey, login, key or certified_key(self.authority))
        return transport

    async def send(self, *fields: bytes) -> None:
        """Blocks a thread, not Trio, when the server does not read."""
        await wait_thread(self.send_now, *fields)

    def send_now(self, *fields: bytes) -> None:
        assert self.transport is not None
        with contextlib.suppress(EOFError, OSError):
            self.transport._send_message(paramiko.Message(b"".join(fields)))

    async def receive(self, *kinds: int) -> bytes:
        """The next message of one of ``kinds``; all others on the way go to :attr:`messages` too."""
        assert self.transport is not None
        while True:
            payload = await wait_thread(self.transport.inbox.get, True, 10)
            if payload is None:
                raise EOFError
            self.messages.append(payload)
            if not kinds or payload[0] in kinds:
                return payload

    async def open_session(self, *, window: int = 1 << 20, number: int = 0) -> int:
        """The server's number of a new session channel."""
        await self.send(b"\x5a", string("session"), uint32(number), uint32(window), uint32(32768))
        payload = await self.receive(91, 92)
        if payload[0] == 92:
            raise SshError(payload[9:].decode("utf-8", "replace"))
        return int.from_bytes(payload[5:9], "big")

    async def global_request(self, name: str, *fields: bytes) -> bytes:
        """The reply, with its type."""
        await self.send(b"\x50", string(name), b"\1", *fields)
        return await self.receive(81, 82)

    async def open_direct(self, host: str, port: int, *, number: int = 0) -> bytes:
        """The answer to a direct-tcpip channel, with its type."""
        await self.send(
            *(b"\x5a", string("direct-tcpip"), uint32(number), uint32(1 << 20), uint32(32768)),
            *(string(host), uint32(port), string("127.0.0.1"), uint32(1)),
        )
        return await self.receive(91, 92)

    async def request(self, channel: int, name: str, *fields: bytes, reply: bool = False) -> None:
        await self.send(b"\x62", uint32(channel), string(name), boolean(reply), *fields)

    def start_exchange(self) -> None:
        """Send KEXINIT and nothing of what has to follow."""
        self.ignore_exchanges()
        assert self.transport is not None
        self.transport._send_kex_init()

    def delay_exchanges(self) -> tuple[threading.Event, threading.Event]:
        """Answer the server's KEXINIT late: set when it has come, and to be set for the answer."""
        transport = self.transport
        assert transport is not None
        came, go_on = threading.Event(), threading.Event()

        def delayed(message: paramiko.Message) -> None:
            came.set()
            go_on.wait(10)
            transport._negotiate_keys(message)

        transport._handler_table[20] = delayed
        return came, go_on

    def ignore_exchanges(self) -> None:
        """Do not answer the server's KEXINIT."""
        assert self.transport is not None
        self.transport._handler_table[20] = lambda message: None

    async def wait_served(self) -> BaseException | None:
        """Why the server has ended the connection."""
        with trio.fail_after(10):
            await self.served.wait()
        return self.error


async def wait_thread(function: Callable[..., object], *args: object):
    return await trio.to_thread.run_sync(function, *args, abandon_on_cancel=True)


def raw_client(spawner: ProcessSpawner | None = None, *, limits: SshLimits | None = None, **changes):
    """A node's server on one end of a socket pair, the test on the other."""
    authority = Authority()
    hooks = Recorder()
    service = NodeService(
        host=authority.host("node-1"),
        hooks=hooks,
        spawner=spawner,
        clock=time.time,
        new_session_id=lambda: "id",
        limits=limits or SshLimits(),
        **changes,
    )
    policy = authority.policy()
    return client_of(
        lambda stream: serve_node_ssh(stream, service, policy=policy, peer=PEER), authority, policy, hooks
    )


def raw_jump_client(open_node: OpenNode, **changes):
    """As :func:`raw_client`, with a hub's server."""
    authority = Authority()
    service = JumpService(host=authority.host("hub"), clock=time.time, **changes)
    policy = authority.policy()
    return client_of(
        lambda stream: serve_jump_ssh(stream, service, policy=policy, open_node=open_node, peer=PEER),
        authority,
        policy,
        Recorder(),
    )


@contextlib.asynccontextmanager
async def client_of(serve_stream, authority, policy, hooks) -> AsyncIterator[RawClient]:
    ours, theirs = socket.socketpair()
    client = RawClient(ours, authority, policy, hooks)

    async def serve() -> None:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        try:
            await serve_stream(stream)
        except SshError as error:
            client.error = error
        finally:
            client.served.set()

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            yield client
            nursery.cancel_scope.cancel()
    finally:
        ours.close()
        if client.transport is not None:
            client.transport.close()
            client.transport.join(5)
