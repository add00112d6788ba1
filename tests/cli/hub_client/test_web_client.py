# SPDX-License-Identifier: Apache-2.0
"""What msh makes of hubs that do not answer as hubs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from mezite.cli.hub_client.web_client import WebClient, find_hub, trust_by_pin, trusting
from mezite.cli.terminal.errors import CliError
from mezite.core.secret import Secret
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.loopback import listening


@asynccontextmanager
async def server(answer: bytes) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Answers every request alike; an empty answer closes."""
    seen: list[bytes] = []
    context = server_context(*self_signed_pem(), ("http/1.1",))

    async def serve(stream: trio.SocketStream) -> None:
        async with TlsStream(stream, context, server_side=True) as tls:
            await tls.do_handshake()
            seen.append(bytes(await tls.receive_some()))
            if answer:
                await tls.send_all(answer)

    async with listening(serve) as address:
        yield f"localhost:{address.rpartition(':')[2]}", seen


def response(status: str, body: bytes) -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def client(address: str) -> WebClient:
    return WebClient(address=address, context=trusting((self_signed_pem()[0],)))


async def failure(answer: bytes) -> CliError:
    async with server(answer) as (address, _seen):
        with pytest.raises(CliError) as failed:
            await client(address).get("/v1/webapi/ping")
    return failed.value


async def test_a_call_carries_its_credential_and_fields() -> None:
    async with server(response("200 OK", b'{"a": 1}')) as (address, seen):
        fields = {"x": 1}
        assert await client(address).post("/v1/webapi/x", fields, token=Secret("abc")) == {"a": 1}
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/webapi/x HTTP/1.1\r\n")
    assert b"authorization: Bearer abc" in head.replace(b"Authorization", b"authorization")
    assert body == b'{"x": 1}'


@pytest.mark.parametrize("body", [b"<html>hello</html>", b"[1]", b"\xff"])
async def test_another_web_server(body: bytes) -> None:
    failed = await failure(response("200 OK", body))
    assert failed.what.endswith("does not answer like a hub")
    assert failed.why == "status 200 without JSON"
    assert failed.hint == "check that this is the hub's HTTPS port"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b'{"error": {"message": "wrong user name or password"}}', "wrong user name or password"),
        (b'{"error": "no"}', "the hub answered with status 403"),
        (b"{}", "the hub answered with status 403"),
    ],
)
async def test_a_refusal(body: bytes, what: str) -> None:
    assert (await failure(response("403 Forbidden", body))).what == what


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{", b"\x00\x01\r\n\r\n"]
)
async def test_an_answer_that_breaks_off(answer: bytes) -> None:
    failed = await failure(answer)
    assert failed.what.startswith("the hub at localhost:")
    assert failed.what.endswith(" does not answer")
    assert failed.hint == "try again"


async def test_a_bundle_that_is_none() -> None:
    for body in (b'{"host_tls_ca_pem": "x"}', b"{}", b'{"host_tls_ca_pem": ["nonsense", 5]}'):
        async with server(response("200 OK", body)) as (address, _seen):
            with pytest.raises(CliError, match="is not the one that the CA pin names"):
                await trust_by_pin(address, "0" * 64)


async def test_an_address_with_a_port_is_taken_as_it_is() -> None:
    assert await find_hub("hub.example.com:8443") == "hub.example.com:8443"


async def test_both_ports_are_tried() -> None:
    with pytest.raises(CliError) as failed:
        await find_hub("127.0.0.1")
    assert failed.value.what == "no hub answers at 127.0.0.1"
    assert failed.value.why.startswith("443: ")
    assert ", 3080: " in failed.value.why
    assert failed.value.hint == "give the port with --proxy=HOST:PORT"
    with pytest.raises(CliError, match="no hub answers at ::1"):
        await find_hub("[::1]")
