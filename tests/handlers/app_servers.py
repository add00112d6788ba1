# SPDX-License-Identifier: Apache-2.0
"""Real servers as applications, each of which writes down every request that it believes to have got.

``python -m tests.handlers.app_servers NAME PORT LOG`` runs one of those in Python. What they note is read by
:func:`seen_by`: method, target, and each field's name and values as an application gets them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from mezite.core.http1.client_fields import one_spelling
from mezite.testing.self_signed import self_signed_pem
from tests.e2e.openid_provider import find_node

__all__ = ["HTTP2_IN_TLS", "SERVERS", "Seen", "run_server", "seen_by"]

SERVERS = (
    "http.server",
    "gunicorn",
    "uvicorn-h11",
    "uvicorn-httptools",
    "waitress",
    "werkzeug",
    "aiohttp",
    "node",
    "nginx",
    "nginx-h2",
    "hypercorn-h2",
    "haproxy",
)

HTTP2_IN_TLS = "-h2"
"""How the names of those end that want TLS, with a certificate of their own, and choose HTTP/2 in it."""


@attrs.frozen(kw_only=True)
class Seen:
    """One request as a server understood it."""

    method: str
    target: str
    fields: tuple[tuple[str, str], ...]
    body: int | None
    """bytes; None where the server does not tell"""

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if one_spelling(key) == name]


def seen_by(log: Path) -> list[Seen]:
    # Not splitlines(): some of the values have other alphabets' line ends in them.
    lines = log.read_bytes().split(b"\n")[:-1]
    found = []
    for line in lines:
        note = json.loads(line)
        if note["method"] == "<BADREQ>" and note["target"] == "-":
            continue  # HAProxy, about a connection without a request: the test asked whether it listens.
        fields = tuple((name, value) for name, value in note["fields"] if value not in ("", "-"))
        found.append(Seen(method=note["method"], target=note["target"], fields=fields, body=note["body"]))
    return found


@contextmanager
def run_server(name: str, port: int, folder: Path) -> Iterator[Path]:
    """The file that it writes; the server ends with the block. It may not be listening yet."""
    log = folder / f"{name}.log"
    log.touch()
    command, output = command_of(name, port, folder, log)
    with (
        (folder / f"{name}.out").open("wb") as complaints,
        (log if output else log.with_suffix(".x")).open("ab") as out,
    ):
        process = subprocess.Popen(command, stdout=out, stderr=complaints, stdin=subprocess.DEVNULL)
        try:
            yield log
        finally:
            process.kill()
            process.wait()


def command_of(name: str, port: int, folder: Path, log: Path) -> tuple[list[str], bool]:
    """What runs it, and whether what it prints is the log."""
    if name.endswith(HTTP2_IN_TLS):
        certificate, key = self_signed_pem("127.0.0.1")
        log.with_suffix(".crt").write_bytes(certificate)
        log.with_suffix(".key").write_bytes(key)
    if name.startswith("nginx"):
        own = folder / f"of-{name}"
        own.mkdir()
        path = own / "nginx.conf"
        tls = f"ssl http2; ssl_certificate {log.with_suffix('.crt')}; ssl_certificate_key {log.with_suffix('.key')}"
        listen = f"127.0.0.1:{port} {tls if name.endswith(HTTP2_IN_TLS) else ''}"
        path.write_text(NGINX.format(listen=listen, folder=own, log=log))
        return ["nginx", "-p", str(own), "-c", str(path), "-e", str(own / "errors.log")], False
    if name == "haproxy":
        path = folder / "haproxy.cfg"
        path.write_text(HAPROXY.format(port=port))
        return [shutil.which("haproxy") or "/usr/sbin/haproxy", "-f", str(path)], True
    if name == "node":
        path = folder / "server.js"
        path.write_text(NODE)
        return [find_node().node, str(path), str(port), str(log)], False
    return [sys.executable, "-m", "tests.handlers.app_servers", name, str(port), str(log)], False


LOOKED_AT = (
    "host",
    "x-mezite-user",
    "x-mezite-roles",
    "mezite-jwt-assertion",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-real-ip",
    "forwarded",
    "cookie",
    "traceparent",
)
"""What is asked of servers whose log has to name each field."""

NGINX_FIELDS = ",".join(f'["{name}","$http_{name.replace("-", "_")}"]' for name in LOOKED_AT)

NGINX = (
    """daemon off; master_process off; pid {folder}/nginx.pid; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  log_format note escape=json '{{"method":"$request_method","target":"$request_uri","body":null,"fields":["""
    + NGINX_FIELDS
    + """]}}';
  access_log {log} note;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  underscores_in_headers on; ignore_invalid_headers off;
  server {{ listen {listen}; location / {{ return 200 "ok"; }} }}
}}
"""
)

HAPROXY_FIELDS = ",".join(
    f'["{name}","%[capture.req.hdr({i}),json(utf8s)]"]' for i, name in enumerate(LOOKED_AT)
)

HAPROXY = (
    """global
  log stdout format raw local0
defaults
  mode http
  timeout client 30s
  timeout connect 5s
  timeout server 5s
frontend app
  bind 127.0.0.1:{port}
  log global
"""
    + "".join(f"  http-request capture req.fhdr({name}) len 400\n" for name in LOOKED_AT)
    + """  log-format '{{"method":"%HM","target":"%[capture.req.uri,json(utf8s)]","body":null,"fields":["""
    + HAPROXY_FIELDS
    + """]}}'
  http-request return status 200 content-type text/plain string ok
"""
)

NODE = """
const fs = require('fs'), http = require('http');
http.createServer((request, response) => {
  const fields = [], raw = request.rawHeaders;
  for (let i = 0; i < raw.length; i += 2) fields.push([raw[i], raw[i + 1]]);
  let body = 0;
  request.on('data', (data) => { body += data.length; });
  request.on('end', () => {
    const note = { method: request.method, target: request.url, fields, body };
    fs.appendFileSync(process.argv[3], JSON.stringify(note) + '\\n');
    response.end('ok');
  });
}).listen(Number(process.argv[2]), '127.0.0.1');
"""


# -- those in Python


def note(log: str, method: str, target: str, fields: Iterable[tuple[str, str]], body: int) -> None:
    line = json.dumps({"method": method, "target": target, "fields": list(fields), "body": body})
    with Path(log).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def run_http_server(port: int, log: str) -> None:
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def answer(self) -> None:
            # Its users do exactly this; it knows no chunked bodies and says so by the length.
            if self.headers.get("Transfer-Encoding"):
                self.close_connection = True
                body = 0
            else:
                body = len(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            note(
                log, self.command, self.path, self.headers.items(), body if not self.close_connection else -1
            )
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(b"ok")

        # The names are what http.server looks for.
        do_GET = do_POST = do_PUT = do_HEAD = do_OPTIONS = do_DELETE = do_PATCH = answer  # noqa: N815

        def log_message(self, *_arguments: object) -> None:
            """Quiet."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def wsgi_app(log: str) -> Any:
    def app(environ: dict[str, Any], start_response: Any) -> list[bytes]:
        fields = [(name[5:], value) for name, value in environ.items() if name.startswith("HTTP_")]
        target = environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"]
        # As frameworks read: to the length that is told, or all of a chunked body where the server ends it.
        length = environ.get("CONTENT_LENGTH") or None
        body = environ["wsgi.input"].read(int(length)) if length else b""
        if environ.get("wsgi.input_terminated"):
            body += environ["wsgi.input"].read()
        note(log, environ["REQUEST_METHOD"], target, fields, len(body))
        start_response("200 OK", [("Content-Length", "2"), ("Content-Type", "text/plain")])
        return [b"ok"]

    return app


def asgi_app(log: str) -> Any:
    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = 0
        while (message := await receive())["type"] == "http.request":
            body += len(message.get("body", b""))
            if not message.get("more_body"):
                break
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        query = scope["query_string"].decode("latin-1")
        note(
            log,
            scope["method"],
            scope["raw_path"].decode("latin-1") + (f"?{query}" if query else ""),
            fields,
            body,
        )
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


def run_gunicorn(port: int, log: str) -> None:
    from gunicorn.app.base import BaseApplication

    class Application(BaseApplication):
        def load_config(self) -> None:
            for key, value in {
                "bind": f"127.0.0.1:{port}",
                "worker_class": "gthread",
                "threads": 8,
                "loglevel": "error",
                "control_socket_disable": True,
            }.items():
                if key in self.cfg.settings:
                    self.cfg.set(key, value)

        def load(self) -> Any:
            return wsgi_app(log)

    Application().run()


def run_uvicorn(port: int, log: str, http: str) -> None:
    import uvicorn

    uvicorn.run(
        asgi_app(log), host="127.0.0.1", port=port, http=http, ws="none", log_level="error", lifespan="off"
    )


def run_hypercorn(port: int, log: str) -> None:
    import asyncio

    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.certfile, config.keyfile = str(Path(log).with_suffix(".crt")), str(Path(log).with_suffix(".key"))
    config.alpn_protocols = ["h2"]
    asyncio.run(serve(asgi_app(log), config))


def run_waitress(port: int, log: str) -> None:
    import waitress

    waitress.serve(
        wsgi_app(log), host="127.0.0.1", port=port, clear_untrusted_proxy_headers=False, _quiet=True
    )


def run_werkzeug(port: int, log: str) -> None:
    from werkzeug.serving import WSGIRequestHandler, make_server

    WSGIRequestHandler.protocol_version = "HTTP/1.1"
    make_server("127.0.0.1", port, wsgi_app(log), threaded=True).serve_forever()


def run_aiohttp(port: int, log: str) -> None:
    from aiohttp import web

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers]
        note(log, request.method, request.raw_path, fields, len(body))
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", handle)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def main() -> None:
    name, port, log = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    match name:
        case "http.server":
            run_http_server(port, log)
        case "gunicorn":
            run_gunicorn(port, log)
        case "uvicorn-h11" | "uvicorn-httptools":
            run_uvicorn(port, log, name.removeprefix("uvicorn-"))
        case "hypercorn-h2":
            run_hypercorn(port, log)
        case "waitress":
            run_waitress(port, log)
        case "werkzeug":
            run_werkzeug(port, log)
        case "aiohttp":
            run_aiohttp(port, log)


if __name__ == "__main__":
    main()
