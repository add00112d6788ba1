# SPDX-License-Identifier: Apache-2.0
"""Three who read PROXY headers, HAProxy, nginx and ours, and what each makes of the same bytes."""

from __future__ import annotations

import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path

import attrs
import trio

from mezite.core.proxy_protocol.crc32c import crc32c
from mezite.core.proxy_protocol.trust import ProxyMode, TrustPolicy
from mezite.core.proxy_protocol.v2 import SIGNATURE
from mezite.net.accept_loop import Connection, serve_connections
from mezite.net.connection_limits import ConnectionLimiter
from mezite.net.proxied_listener import ProxiedListener
from mezite.testing.ports import free_port
from tests.e2e.harness import Daemon, clean_environment

REQUEST = b"GET / HTTP/1.0\r\n\r\n"
OWN = "own"
"""The answer of who takes the address of the socket: the header names none."""
REFUSED = "refused"


def wait_for_listener(port: int) -> None:
    """A process of somebody else's says nothing when it is ready: try until it answers."""
    for _ in range(200):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        threading.Event().wait(0.05)
    raise AssertionError(f"nothing listens on {port}")


@contextmanager
def running(command: list[str], folder: Path, port: int) -> Iterator[int]:
    daemon = Daemon(command, clean_environment(), folder / "log")
    try:
        wait_for_listener(port)
        yield port
    finally:
        daemon.kill()


@contextmanager
def haproxy(folder: Path) -> Iterator[int]:
    port, config = free_port(), folder / "haproxy.cfg"
    folder.mkdir()
    config.write_text(
        "defaults\n  mode http\n  timeout client 5s\n  timeout server 5s\n  timeout connect 5s\n"
        "  timeout http-request 5s\n"
        f"listen receiver\n  bind 127.0.0.1:{port} accept-proxy\n"
        '  http-request return status 200 content-type text/plain lf-string "%[src] %[src_port]"\n'
    )
    with running(["haproxy", "-db", "-f", str(config)], folder, port):
        yield port


@contextmanager
def nginx(folder: Path) -> Iterator[int]:
    port, config = free_port(), folder / "nginx.conf"
    folder.mkdir()
    config.write_text(
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/errors info;\nevents {{}}\n"
        f"http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};\n"
        f"fastcgi_temp_path {folder};\n"
        f"uwsgi_temp_path {folder}; scgi_temp_path {folder}; client_header_timeout 5s;\n"
        f"server {{ listen 127.0.0.1:{port} proxy_protocol;\n"
        'location / { return 200 "$proxy_protocol_addr $proxy_protocol_port"; } } }\n'
    )
    with running(["nginx", "-p", str(folder), "-c", str(config)], folder, port):
        yield port


@asynccontextmanager
async def ours() -> AsyncIterator[int]:
    """Our listener, which requires a header as the other two do."""
    policy = TrustPolicy(ProxyMode.REQUIRE, (ip_network("127.0.0.1/32"),))
    listener = ProxiedListener(policy=policy, handler=answer_http, refused=say_nothing)
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        serve = partial(serve_connections, name="ours", limiter=ConnectionLimiter())
        await nursery.start(serve, listeners, listener.handle)
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def say_nothing(_connection: Connection, _reason: str) -> None:
    """Nothing is audited here."""


async def answer_http(connection: Connection) -> None:
    """What the two others do with a request."""
    received = bytearray()
    while not received.endswith(b"\r\n\r\n"):
        data = await connection.stream.receive_some()
        if not data:
            return
        received += data
    if received == REQUEST:
        host, _, port = connection.client_address.rpartition(":")
        text = f"{host.strip('[]')} {port}"
        await connection.stream.send_all(f"HTTP/1.0 200 OK\r\n\r\n{text}".encode())


async def ask(port: int, header: bytes, patience: float) -> str:
    """Whom the receiver takes for the client: an address and a port, OWN, or REFUSED."""
    reply = bytearray()
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        own = "{} {}".format(*stream.socket.getsockname())
        with trio.move_on_after(patience):
            try:
                await stream.send_all(header + REQUEST)
                while data := await stream.receive_some():
                    reply += data
            except trio.BrokenResourceError:
                pass
    head, _, body = bytes(reply).partition(b"\r\n\r\n")
    if not head.startswith((b"HTTP/1.0 200", b"HTTP/1.1 200")):
        return REFUSED
    text = body.decode()
    return OWN if text in (own, " ") else plain(text)


def plain(text: str) -> str:
    """With the address in its one spelling; what is none stays as it is."""
    host, _, port = text.partition(" ")
    try:
        address = ip_address(host)
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return f"{address} {port}"


@attrs.define(eq=False)
class HeaderMaker:
    """Valid headers, and what becomes of them when somebody is careless; the same for the same seed."""

    seed: int
    dice: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.dice = random.Random(self.seed)

    def valid(self) -> bytes:
        return self.dice.choice([self.version1, self.version2])()

    def version1(self) -> bytes:
        source, destination = self._addresses(four := self.dice.random() < 0.6)
        ports = self.dice.randrange(65536), self.dice.randrange(65536)
        return f"PROXY TCP{4 if four else 6} {source} {destination} {ports[0]} {ports[1]}\r\n".encode()

    def version2(self) -> bytes:
        source, destination = self._addresses(four := self.dice.random() < 0.6)
        ports = struct.pack("!HH", self.dice.randrange(65536), self.dice.randrange(65536))
        return version2(
            b"\x21\x11" if four else b"\x21\x21", source.packed + destination.packed + ports, self._tlvs()
        )

    def _addresses(self, four: bool) -> tuple[IPv4Address | IPv6Address, IPv4Address | IPv6Address]:
        if four:
            return IPv4Address(self.dice.getrandbits(32)), IPv4Address(self.dice.getrandbits(32))
        return IPv6Address(self.dice.getrandbits(128)), IPv6Address(self.dice.getrandbits(128))

    def _tlvs(self) -> list[tuple[int, bytes]]:
        kinds = self.dice.sample([0x01, 0x02, 0x03, 0x04, 0x05, 0xEA], self.dice.randrange(4))
        return [
            (kind, bytes(4) if kind == 3 else self.dice.randbytes(self.dice.randrange(40))) for kind in kinds
        ]

    def mutated(self) -> bytes:
        """A valid header with one to three small faults."""
        header = bytearray(self.valid())
        for _ in range(self.dice.randint(1, 3)):
            at = self.dice.randrange(len(header))
            match self.dice.randrange(6):
                case 0:
                    header[at] ^= 1 << self.dice.randrange(8)
                case 1:
                    del header[at]
                case 2:
                    header.insert(at, header[at])
                case 3:
                    header.insert(at, self.dice.choice(b"0 .:\r\n\t9f"))
                case 4:
                    header[at] = self.dice.choice(b"0 .:\r\n\t9f\x00\xff")
                case _:
                    other = self.dice.randrange(len(header))
                    header[at], header[other] = header[other], header[at]
        return bytes(header)


def version2(kind: bytes, addresses: bytes, tlvs: list[tuple[int, bytes]]) -> bytes:
    """A version 2 header, with its CRC-32C put where a TLV has room for it."""
    body = addresses + b"".join(struct.pack("!BH", tlv, len(value)) + value for tlv, value in tlvs)
    header = bytearray(SIGNATURE + kind + struct.pack("!H", len(body)) + body)
    at = len(SIGNATURE) + 4 + len(addresses)
    for tlv, value in tlvs:
        if tlv == 3:
            header[at + 3 : at + 7] = struct.pack("!I", crc32c(bytes(header)))
        at += 3 + len(value)
    return bytes(header)
