# SPDX-License-Identifier: Apache-2.0
"""Who came to the wrong port is told so in its own protocol, and where to go."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path

import h2.connection
import h2.events
import pytest
import trio
from trio.testing import memory_stream_pair

from mezite.core.protocol_sniffer import Protocol
from mezite.handlers.ports.wrong_door import WrongDoor
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from tests.handlers.peers import read_all

ADDRESSES = {
    "web": "hub.example:443",
    "ssh": "hub.example:3023",
    "tunnel": "hub.example:3024",
    "diag": "localhost:3081",
}
DOOR = WrongDoor(here="This is the port for agents (proxy.tunnel_listen_addr).", addresses=lambda: ADDRESSES)
TEXT = (
    "This is the port for agents (proxy.tunnel_listen_addr).\n"
    "browsers and msh login: https://hub.example:443\n"
    "ssh and msh: hub.example:3023\n"
    "agents (MEZITE_PROXY_ADDR): hub.example:3024\n"
)


async def told(protocol: Protocol | None, opening: bytes) -> bytes:
    client, server = memory_stream_pair()
    connection = Connection(
        PushbackStream(server), "192.0.2.1:1", "127.0.0.1:3024", "tunnel", lambda: None, lambda _ip: None
    )
    await client.send_all(opening)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(DOOR.send_away, connection, protocol)
            await client.send_eof()
        await server.aclose()
        return await read_all(client)


async def test_a_browser() -> None:
    head, _, body = (await told(Protocol.HTTP1, b"GET / HTTP/1.1\r\n\r\n")).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert body == TEXT.encode()


async def test_a_grpc_client() -> None:
    client = h2.connection.H2Connection()
    client.initiate_connection()
    opening = client.data_to_send()
    (goaway,) = [
        event
        for event in client.receive_data(await told(Protocol.HTTP2_PRIOR_KNOWLEDGE, opening))
        if isinstance(event, h2.events.ConnectionTerminated)
    ]
    assert goaway.additional_data == TEXT.encode()
    assert goaway.error_code == 0xC


async def test_a_tls_client() -> None:
    assert await told(Protocol.TLS, b"\x16\x03\x01\x00\x05") == b"\x15\x03\x03\x00\x02\x02\x28"


@pytest.mark.parametrize("protocol", [Protocol.UNKNOWN, Protocol.PROXY_HEADER, None])
async def test_who_could_not_understand_is_told_nothing(
    protocol: Protocol | None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "mezite.ports"):
        assert await told(protocol, b"\x00\x00") == b""
    assert len(caplog.records) == (protocol is not None), "a probe that says nothing is no news"


async def test_openssh_prints_what_an_ssh_client_is_told(tmp_path: Path) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def serve() -> None:
        async with await listener.accept() as stream:
            connection = Connection(
                PushbackStream(stream), "192.0.2.1:1", "127.0.0.1:1", "web", lambda: None, lambda _ip: None
            )
            await DOOR.send_away(connection, Protocol.SSH)

    options = ["-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={tmp_path}/hosts", "-F", "none"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        with trio.fail_after(20):
            result = await trio.run_process(
                ["ssh", *options, "-p", str(port), "127.0.0.1", "true"],
                check=False,
                capture_stderr=True,
                stdin=subprocess.DEVNULL,
            )
    assert result.returncode == 255
    text = TEXT.strip().replace("\n", "; ").encode()
    assert b"Received disconnect from 127.0.0.1" in result.stderr
    assert text in result.stderr
    await listener.aclose()
