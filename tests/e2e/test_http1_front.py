# SPDX-License-Identifier: Apache-2.0
"""The HTTP/1.1 front with a real application and a real client: curl, over TCP and TLS."""

import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import quart
import quart_trio
import trio

from mezite.core.protocol_sniffer import Protocol
from mezite.net.accept_loop import Connection, serve_connections
from mezite.net.asgi_lifespan import run_lifespan
from mezite.net.connection_limits import ConnectionLimiter
from mezite.net.http1_server import serve_http1
from mezite.net.protocol_router import peek_protocol
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem

pytestmark = pytest.mark.e2e


def build_app() -> quart_trio.QuartTrio:
    app = quart_trio.QuartTrio(__name__)

    @app.post("/upload")
    async def upload() -> dict[str, int]:
        return {"bytes": len(await quart.request.get_data())}

    @app.get("/")
    async def index() -> dict[str, str]:
        return {"scheme": quart.request.scheme, "ip": quart.request.remote_addr or ""}

    @app.get("/big")
    async def big() -> bytes:
        return bytes(8_000_000)

    return app


@asynccontextmanager
async def front() -> AsyncIterator[int]:
    """One port that serves HTTP and HTTPS, told apart by the first bytes."""
    app = build_app()
    context = server_context(*self_signed_pem(), ["http/1.1"])

    async def handle(connection: Connection) -> None:
        stream: trio.abc.Stream = connection.stream
        scheme = "http"
        if await peek_protocol(connection.stream) is Protocol.TLS:
            tls = TlsStream(connection.stream, context, server_side=True)
            await tls.do_handshake()
            stream, scheme = tls, "https"
        connection.established()
        await serve_http1(
            stream, app, scheme=scheme, client=connection.peer_address, server=connection.local_address
        )

    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with run_lifespan(app), trio.open_nursery() as nursery:

        async def accept(task_status: trio.TaskStatus[None]) -> None:
            await serve_connections(
                [listener], handle, name="web", limiter=ConnectionLimiter(), task_status=task_status
            )

        await nursery.start(accept)
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def curl(*arguments: str) -> str:
    done = await trio.run_process(
        ["curl", "--silent", "--show-error", "--max-time", "20", *arguments], capture_stdout=True
    )
    return done.stdout.decode()


@pytest.fixture
def ca_file(tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    path.write_bytes(self_signed_pem()[0])
    return str(path)


async def test_curl_over_http_and_https_on_one_port(ca_file: str) -> None:
    async with front() as port:
        assert json.loads(await curl(f"http://127.0.0.1:{port}/")) == {"scheme": "http", "ip": "127.0.0.1"}
        answer = await curl("--cacert", ca_file, f"https://localhost:{port}/")
        assert json.loads(answer)["scheme"] == "https"


async def test_curl_keeps_its_connection() -> None:
    async with front() as port:
        url = f"http://127.0.0.1:{port}/"
        answer = await curl(url, url, url, "--write-out", "%{num_connects} ", "--output", "/dev/null")
        assert answer.split()[-1] == "0" or "1 0 0" in answer


async def test_curl_uploads_with_expect_and_chunks(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(bytes(1_000_000))
    async with front() as port:
        url = f"http://127.0.0.1:{port}/upload"
        for options in ([], ["--header", "Expect: 100-continue"], ["--header", "Transfer-Encoding: chunked"]):
            answer = await curl("--data-binary", f"@{body}", *options, url)
            assert json.loads(answer) == {"bytes": 1_000_000}
        body.write_bytes(bytes(2_000_000))
        answer = await curl("--data-binary", f"@{body}", "--write-out", "%{http_code}", url)
        assert answer.endswith("413")


async def test_curl_downloads_over_tls(ca_file: str) -> None:
    async with front() as port:
        answer = await curl(
            "--cacert", ca_file, "--output", "/dev/null", "--write-out", "%{size_download}",
            f"https://localhost:{port}/big",
        )  # fmt: skip
        assert answer == "8000000"


async def test_curl_asking_for_a_websocket_of_another_version_is_told_no() -> None:
    async with front() as port:
        answer = await curl(
            "--header", "Connection: Upgrade", "--header", "Upgrade: websocket",
            "--header", "Sec-WebSocket-Version: 8", "--header", "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            "--write-out", "%{http_code}", f"http://127.0.0.1:{port}/ws",
        )  # fmt: skip
        assert answer.endswith("426")
        assert "WebSocket" in answer


def test_curl_is_installed() -> None:
    subprocess.run(["curl", "--version"], check=True, capture_output=True)
