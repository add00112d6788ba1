# SPDX-License-Identifier: Apache-2.0
"""Hostile clients by the hundred, in a process of their own so that honest clients are not measured beside them.

Reads an :class:`Orders` as JSON from standard input, attacks, and prints one :class:`Outcome` a line when all
connections have ended or the time is up. Whether a connection still stands is read from the kernel (TCP_INFO), so that
nothing has to be received to notice its end.
"""

from __future__ import annotations

import json
import resource
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from mezite.net.http2_frame_gate import CONNECTION_PREFACE
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsStream

LOOK_SECONDS = 0.25
TCP_ESTABLISHED = 1
TCP_REPAIR = 19
SOURCES = 60
"""Addresses that the connections of a class come from."""
TRUSTED_NET, STRANGERS_NET = "127.3", "127.2"
PORTS = ("web", "ssh", "tunnel", "auth")
CLIENT_HELLO = bytes.fromhex("16030100f8010000f40303")
SETTINGS_FRAME = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
GONE = (OSError, trio.BrokenResourceError, trio.ClosedResourceError)

WEB = unverified_client_context(["http/1.1"])
GRPC = unverified_client_context(["h2"])


@attrs.frozen(kw_only=True)
class Orders:
    """What to do."""

    addresses: dict[str, str]
    """`host:port` of the hub's listeners"""
    kinds: list[str]
    """names in KINDS"""
    connections: int
    """of each kind"""
    per_second: float
    """new connections of all kinds together, at most: a machine that is busy makes the attackers slower too"""
    seconds: float
    """after the last one began; what still stands then has won"""


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of the connections of one kind."""

    kind: str
    opened: int
    held: int
    """were not ended within a second"""
    open_at_the_end: int
    longest: float
    """seconds from the connection to its end, the worst one"""


@attrs.define(eq=False)
class Attacker:
    """One hostile connection."""

    kind: str
    number: int
    addresses: dict[str, str]
    socket: trio.socket.SocketType = attrs.field(init=False)
    began: float = 0.0
    lasted: float | None = None
    over: trio.Event = attrs.field(factory=trio.Event)

    @property
    def stream(self) -> trio.SocketStream:
        return trio.SocketStream(self.socket)

    async def connect(self, listener: str, **options: int) -> trio.SocketStream:
        """`options` are TCP options, set before connecting."""
        self.socket = trio.socket.socket()
        for name, value in options.items():
            level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
            self.socket.setsockopt(level, getattr(socket, name), value)
        net = TRUSTED_NET if self.kind == "stalled_proxy" else STRANGERS_NET
        source = f"{net}.{1 + list(KINDS).index(self.kind)}.{1 + self.number % SOURCES}"
        await self.socket.bind((source, 0))
        host, _, port = self.addresses[listener].rpartition(":")
        self.began = trio.current_time()
        await self.socket.connect((host, int(port)))
        return self.stream

    async def connect_tls(self, listener: str, context: object, **options: int) -> TlsStream:
        stream = TlsStream(await self.connect(listener, **options), context, server_side=False)  # type: ignore[arg-type]
        await stream.do_handshake()
        return stream

    def look(self) -> None:
        """Note the end, if it has come."""
        if self.lasted is None and self.began:
            try:
                state = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
            except OSError:
                state = 0
            if state not in (TCP_ESTABLISHED, 2):
                self.end()

    def end(self) -> None:
        if self.lasted is None:
            self.lasted = trio.current_time() - self.began
            self.over.set()


async def slow_header(attacker: Attacker) -> None:
    stream = await attacker.connect_tls("web", WEB)
    await stream.send_all(b"GET /v1/webapi/ping HTTP/1.1\r\nHost: hub\r\n")
    while True:
        await stream.send_all(b"x-more: yes\r\n")
        await trio.sleep(4)


async def slow_body(attacker: Attacker) -> None:
    stream = await attacker.connect_tls("web", WEB)
    await stream.send_all(
        b"POST /v1/webapi/login HTTP/1.1\r\nHost: hub\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100000\r\n\r\n"
    )
    while True:
        await stream.send_all(b" " * 100)
        await trio.sleep(4)


async def slow_reader(attacker: Attacker) -> None:
    """Asks for much more than the sockets hold and reads nothing, or every second one a little."""
    stream = await attacker.connect_tls("web", WEB, TCP_MAXSEG=88, SO_RCVBUF=2304)
    await stream.send_all(b"GET /pages/invite.js HTTP/1.1\r\nHost: hub\r\n\r\n" * 60)
    while attacker.number % 2:
        await attacker.socket.recv(400)
        await trio.sleep(4)
    await attacker.over.wait()


async def stalled_tls(attacker: Attacker) -> None:
    stream = await attacker.connect(PORTS[attacker.number % 4])
    if attacker.number % 8 < 4:
        await stream.send_all(CLIENT_HELLO)
    await attacker.over.wait()


async def stalled_proxy(attacker: Attacker) -> None:
    stream = await attacker.connect(PORTS[attacker.number % 4])
    begun = (b"", b"PROXY TCP4 192.0.2.1 ", b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00")[attacker.number % 3]
    if begun:
        await stream.send_all(begun)
    await attacker.over.wait()


async def ssh_banner_stall(attacker: Attacker) -> None:
    stream = await attacker.connect("ssh")
    begun = (b"", b"SSH-2.0-slow", b"SSH-2.0-slow\r\n")[attacker.number % 3]
    if begun:
        await stream.send_all(begun)
    await attacker.over.wait()


async def idle_websocket(attacker: Attacker) -> None:
    """The tunnel inside a WebSocket, which is opened and stays empty, or begins with half a greeting."""
    stream = await attacker.connect_tls("web", WEB)
    await stream.send_all(
        b"GET /v1/tunnel HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    if attacker.number % 2:
        await stream.send_all(b"\x82\x85\x00\x00\x00\x00" + CLIENT_HELLO[:5])
    await attacker.over.wait()


async def idle_h2(attacker: Attacker) -> None:
    stream = await attacker.connect_tls("auth", GRPC)
    await stream.send_all(CONNECTION_PREFACE + (SETTINGS_FRAME if attacker.number % 2 else b""))
    await attacker.over.wait()


async def half_open(attacker: Attacker) -> None:
    """A client that is gone without a word: its kernel forgets the connection, the hub's does not.

    The end is looked for on the hub's side by who gives the orders.
    """
    await attacker.connect(PORTS[attacker.number % 4])
    attacker.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    attacker.socket.close()
    attacker.end()


async def connect_flood(attacker: Attacker) -> None:
    for _ in range(3):
        stream = await attacker.connect(PORTS[attacker.number % 4])
        await stream.aclose()
    attacker.end()


KINDS: dict[str, Callable[[Attacker], Awaitable[None]]] = {
    kind.__name__: kind
    for kind in (
        slow_header, slow_body, slow_reader, stalled_tls, stalled_proxy, ssh_banner_stall, idle_h2, idle_websocket,
        half_open, connect_flood,
    )
}  # fmt: skip


@asynccontextmanager
async def watched(attackers: list[Attacker]) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            for attacker in attackers:
                attacker.look()
            await trio.sleep(LOOK_SECONDS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()


async def attack_once(attacker: Attacker) -> None:
    with suppress(*GONE):
        await KINDS[attacker.kind](attacker)
    attacker.end()


async def attack(orders: Orders) -> list[Outcome]:
    attackers = [
        Attacker(kind, number, orders.addresses)
        for number in range(orders.connections)
        for kind in orders.kinds
    ]
    async with watched(attackers), trio.open_nursery() as nursery:
        for attacker in attackers:
            nursery.start_soon(attack_once, attacker)
            await trio.sleep(1 / orders.per_second)
        nursery.cancel_scope.deadline = trio.current_time() + orders.seconds
    return [outcome(kind, [each for each in attackers if each.kind == kind]) for kind in orders.kinds]


def outcome(kind: str, attackers: list[Attacker]) -> Outcome:
    lasted = [attacker.lasted for attacker in attackers if attacker.lasted is not None]
    return Outcome(
        kind=kind,
        opened=sum(bool(attacker.began) for attacker in attackers),
        held=len(attackers) - sum(seconds < 1 for seconds in lasted),
        open_at_the_end=len(attackers) - len(lasted),
        longest=max(lasted, default=0.0),
    )


def main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    for result in trio.run(attack, Orders(**json.load(sys.stdin))):
        print(json.dumps(attrs.asdict(result)), flush=True)


if __name__ == "__main__":
    main()
