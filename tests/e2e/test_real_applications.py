# SPDX-License-Identifier: Apache-2.0
"""Other people's applications behind a hub, with no change to them but their address and base URL."""

from __future__ import annotations

import base64
import json
import os
import ssl
import time
from collections.abc import Iterator
from contextlib import ExitStack

import attrs
import pytest
import trio
from trio_websocket import WebSocketConnection

from mezite.testing.ports import free_address
from tests.e2e import real_applications
from tests.e2e.app_visitor import Visitor
from tests.e2e.harness import Cluster, running_cluster

pytestmark = pytest.mark.e2e

DOMAIN = "apps.localhost"
TOKEN = "of-jupyter-itself"
JUPYTER = {"Authorization": f"token {TOKEN}"}
UPLOAD = os.urandom(6 << 20)


@attrs.frozen
class Published:
    """A hub with applications, and somebody who has logged in."""

    cluster: Cluster
    visitor: Visitor

    def host(self, name: str) -> str:
        return f"{name}.{DOMAIN}"


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    folder = tmp_path_factory.mktemp("published")
    web = free_address()
    hub = f"hub.localhost:{web.rpartition(':')[2]}"
    proxy = {"listen_addr": web, "public_addr": hub, "apps_domain": DOMAIN}
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder, proxy=proxy))
        cluster.start_agent("near", wait=False)
        external = f"https://prometheus.{DOMAIN}:{hub.rpartition(':')[2]}/"
        uris = {
            "counter": stack.enter_context(real_applications.counter(folder / "counter")),
            "httpbin": stack.enter_context(real_applications.httpbin(folder / "httpbin")),
            "prometheus": stack.enter_context(real_applications.prometheus(folder / "prometheus", external)),
            "jupyter": stack.enter_context(real_applications.jupyterlab(folder / "jupyter", TOKEN)),
        }
        cluster.agents["near"].wait_for(lambda line: '"tunnel connected"' in line)
        for name, uri in uris.items():
            cluster.mezctl(
                "apps", "register", f"--name={name}", f"--uri={uri}", "--labels=env=test",
                f"--public-addr={name}.{DOMAIN}", "--agent-hostname=near",
            )  # fmt: skip
        (folder / "roots.pem").write_text(cluster.mezctl("auth", "export", "--type=host-tls").stdout)
        visitor = Visitor(hub, ssl.create_default_context(cafile=folder / "roots.pem"))
        stack.callback(visitor.close)
        visitor.log_in("admin")
        yield Published(cluster, visitor)


def test_httpbin_sees_who_asks_and_nothing_that_was_forged(published: Published) -> None:
    host, visitor = published.host("httpbin"), published.visitor
    page = visitor.visit(host, "/headers?show_env=1")
    seen = {name.lower(): value for name, value in page.json()["headers"].items()}
    assert seen["x-mezite-user"] == "admin"
    assert seen["mezite-jwt-assertion"].count(".") == 2
    assert seen["host"] == seen["x-forwarded-host"] == f"{host}:{visitor.port}"
    assert "cookie" not in seen
    forged = {"X-Mezite-User": "root", "X_Mezite_User": "root", "Mezite-Jwt-Assertion": "e.y.J"}
    again = visitor.ask("GET", host, "/headers", headers=forged).json()["headers"]
    assert again["X-Mezite-User"] == "admin"
    assert "root" not in json.dumps(again)


def test_httpbin_answers_in_every_way(published: Published) -> None:
    host, visitor = published.host("httpbin"), published.visitor
    for path in ("/gzip", "/deflate", "/encoding/utf8", "/bytes/70000?seed=1", "/image/png", "/cache/60"):
        through = visitor.ask("GET", host, path)
        assert through.status_code == 200, path
    assert len(visitor.ask("GET", host, "/bytes/70000?seed=1").content) == 70000
    assert len(visitor.ask("GET", host, "/stream/20").text.splitlines()) == 20
    assert visitor.ask("GET", host, "/status/418").status_code == 418
    assert visitor.ask("HEAD", host, "/bytes/1000").content == b""
    assert visitor.ask("GET", host, "/redirect/2").headers["location"] == "/relative-redirect/1"
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        sent = visitor.ask(method, host, "/anything/a%20b?q=%C3%A9", content=b"body")
        assert (sent.json()["method"], sent.json()["data"]) == (method, "body")
        assert sent.json()["args"] == {"q": "é"}
    back = visitor.ask("POST", host, "/post", files={"file": ("up.bin", UPLOAD)}).json()["files"]["file"]
    assert base64.b64decode(back.partition("base64,")[2]) == UPLOAD


def test_prometheus_watches_itself(published: Published) -> None:
    host, visitor = published.host("prometheus"), published.visitor
    start = visitor.visit(host, "/").headers["location"]
    assert "Prometheus" in visitor.ask("GET", host, start).text
    query = {"query": "up == 1"}
    give_up = time.monotonic() + 60
    found: list[dict[str, dict[str, str]]] = []
    while not found and time.monotonic() < give_up:
        found = visitor.ask("POST", host, "/api/v1/query", data=query).json()["data"]["result"]
    assert found[0]["metric"]["job"] == "itself"


def test_every_event_comes_when_it_happens(published: Published) -> None:
    host, visitor = published.host("counter"), published.visitor
    visitor.visit(host, "/next")
    request = visitor.build("GET", host, "/events", headers={"Accept": "text/event-stream"})
    stream = visitor.send(request, stream=True)
    lines = stream.iter_lines()
    try:
        for number in range(1, 6):
            assert next(lines) == f"id: {number}"
            assert next(lines) == f"data: {number}"
            assert next(lines) == ""
            # The next one is not there before it is asked for: nothing waits for more to come.
            assert visitor.ask("GET", host, "/next").status_code == 204
    finally:
        stream.close()


def test_jupyterlab_uploads(published: Published) -> None:
    host, visitor = published.host("jupyter"), published.visitor
    page = visitor.visit(host, f"/lab?token={TOKEN}")
    assert "JupyterLab" in visitor.send(visitor.build("GET", host, "/lab", headers=JUPYTER)).text, page.text
    content = {"type": "file", "format": "base64", "content": base64.b64encode(UPLOAD).decode()}
    made = visitor.ask("PUT", host, "/api/contents/up.bin", json=content, headers=JUPYTER)
    assert (made.status_code, made.json()["size"]) == (201, len(UPLOAD))
    assert visitor.ask("GET", host, "/files/up.bin", headers=JUPYTER).content == UPLOAD


async def execute(socket: WebSocketConnection, code: str) -> str:
    header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    asked = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
    await socket.send_message(json.dumps(asked))
    while True:
        answer = json.loads(await socket.get_message())
        if answer["msg_type"] == "stream":
            return str(answer["content"]["text"])


def test_jupyterlab_runs_code(published: Published) -> None:
    """Its kernels speak through a WebSocket, whose origin Jupyter compares with the Host that it is given."""
    host, visitor = published.host("jupyter"), published.visitor
    kernel = visitor.ask("POST", host, "/api/kernels", json={"name": "python3"}, headers=JUPYTER).json()["id"]

    async def talk() -> str:
        async with trio.open_nursery() as nursery:
            with trio.fail_after(60):
                path = f"/api/kernels/{kernel}/channels?session_id=s&token={TOKEN}"
                socket = await visitor.open_socket(nursery, host, path)
                said = await execute(socket, "print(6 * 7)")
                await socket.aclose()
                return said
        raise AssertionError("unreachable")

    assert trio.run(talk) == "42\n"
    assert visitor.ask("DELETE", host, f"/api/kernels/{kernel}", headers=JUPYTER).status_code == 204


def test_every_request_is_on_record(published: Published) -> None:
    rows = published.cluster.audit("--type=app.request")
    assert {row["resource_name"] for row in rows} == {"httpbin", "prometheus", "counter", "jupyter"}
    assert {row["user_name"] for row in rows} == {"admin"}
    upload = next(row for row in rows if row.get("method") == "PUT" and row["resource_name"] == "jupyter")
    assert upload["path"] == "/api/contents/up.bin"
    assert upload["status"] == 201
    assert TOKEN not in json.dumps(rows)
