# SPDX-License-Identifier: Apache-2.0
"""One large download and one large upload through hub and agent as they are installed; prints how much they grow.

    python -m bench.app_bulk [--gigabytes 10] [--most 50]

curl -> TLS -> mezhub (session, audit) -> mutual TLS 1.3 and the multiplexer -> mezd -> a server that makes up what it
sends and forgets what it gets. Nothing is on a disk: what curl sends is a file without blocks. The memory of both
programs is read from /proc twice a second. Exits with 1 when one of them has grown by more than ``--most`` MB.
"""

from __future__ import annotations

import argparse
import http.server
import ssl
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import attrs

from bench.machine import cpu_seconds, print_facts, resident_bytes
from mezite.testing.ports import free_address
from tests.e2e.app_visitor import Visitor
from tests.e2e.harness import running_cluster

DOMAIN = "apps.localhost"
HOST = f"bulk.{DOMAIN}"
MEGABYTE = 1_000_000
SAMPLE_SECONDS = 0.5
LONGEST_SECONDS = 3600
"""For one direction: 10 GB at 3 MB/s."""


class Bottomless(http.server.BaseHTTPRequestHandler):
    """Sends as many bytes as the path says, and counts those that it gets."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        left = int(self.path.strip("/") or 0)
        self.send_response(200)
        self.send_header("Content-Length", str(left))
        self.end_headers()
        block = bytes(MEGABYTE)
        while left:
            self.wfile.write(block[:left])
            left -= min(left, MEGABYTE)

    def do_PUT(self) -> None:
        left = int(self.headers["Content-Length"])
        buffer, got = memoryview(bytearray(MEGABYTE)), 0
        while got < left and (size := self.rfile.readinto1(buffer[: left - got])):
            got += size
        answer = str(got).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_arguments: object) -> None:
        """Quiet."""


class Server(http.server.ThreadingHTTPServer):
    """One whose clients may leave at any time."""

    def handle_error(self, *_arguments: object) -> None:
        """Quiet: what was not answered, curl tells."""


@attrs.define(eq=False)
class Watch:
    """The memory of programs while something runs."""

    pids: dict[str, int]
    first: dict[str, int] = attrs.field(factory=dict)
    most: dict[str, int] = attrs.field(factory=dict)

    def sample(self) -> None:
        for name, pid in self.pids.items():
            now = resident_bytes(pid)
            self.first.setdefault(name, now)
            self.most[name] = max(self.most.get(name, 0), now)

    def growth(self, name: str) -> float:
        """In MB, at the worst moment."""
        return (self.most[name] - self.first[name]) / MEGABYTE


def move(name: str, command: list[str], count: int, pids: dict[str, int]) -> list[float]:
    """Run curl, print what it cost, and return the growth of each program."""
    watch = Watch(pids)
    watch.sample()
    before, began = cpu_seconds(pids.values()), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    while True:
        try:
            said, _ = process.communicate(timeout=SAMPLE_SECONDS)
            break
        except subprocess.TimeoutExpired:
            watch.sample()
    watch.sample()
    seconds, cpu = time.monotonic() - began, cpu_seconds(pids.values()) - before
    if process.returncode or said != f"200 {count}":
        raise SystemExit(f"{name}: curl ended with {process.returncode} and said {said!r}")
    memory = "; ".join(
        f"{each} {watch.first[each] / MEGABYTE:.1f} MB before, {watch.growth(each):+.1f} MB at most"
        for each in pids
    )
    print(
        f"{name}: {count / 1e9:g} GB in {seconds:.0f} s, {count / seconds / 1e6:.0f} MB/s, "
        f"{cpu / count * 1e9:.1f} processor seconds per GB; {memory}",
        flush=True,
    )
    return [watch.growth(each) for each in pids]


def measure(folder: Path, port: int, count: int) -> float:
    """The most that either program has grown by."""
    web = free_address()
    hub = f"hub.localhost:{web.rpartition(':')[2]}"
    with running_cluster(
        folder, proxy={"listen_addr": web, "public_addr": hub, "apps_domain": DOMAIN}
    ) as cluster:
        agent = cluster.start_agent("near")
        cluster.mezctl(
            "apps", "register", "--name=bulk", f"--uri=http://127.0.0.1:{port}", "--labels=env=test",
            f"--public-addr={HOST}", "--agent-hostname=near",
        )  # fmt: skip
        roots = folder / "roots.pem"
        roots.write_text(cluster.mezctl("auth", "export", "--type=host-tls").stdout)
        visitor = Visitor(hub, ssl.create_default_context(cafile=roots))
        visitor.log_in("admin")
        visitor.visit(HOST, "/1000000")
        assert cluster.hub is not None
        pids = {"mezhub": cluster.hub.process.pid, "mezd": agent.process.pid}
        cookie = folder / "cookie"
        cookie.write_text(f"Cookie: {visitor.fields(HOST)['Cookie']}\n")
        cookie.chmod(0o600)
        to = ["--resolve", f"{HOST}:{visitor.port}:127.0.0.1", "--cacert", str(roots), "-H", f"@{cookie}"]
        curl = ["curl", "-sS", "--max-time", str(LONGEST_SECONDS), *to]
        address = f"https://{HOST}:{visitor.port}"
        down = ["-o", "/dev/null", "-w", "%{http_code} %{size_download}", f"{address}/{count}"]
        hole = folder / "hole"
        with hole.open("wb") as file:
            file.truncate(count)
        up = ["-T", str(hole), "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", f"{address}/up"]
        growth = move("download", [*curl, *down], count, pids) + move("upload", [*curl, *up], count, pids)
        visitor.close()
        return max(growth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--most", type=float, default=50, help="MB that each program may grow by")
    options = parser.parse_args()
    print_facts("bench.app_bulk")
    with (
        Server(("127.0.0.1", 0), Bottomless) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        threading.Thread(target=server.serve_forever, daemon=True).start()
        growth = measure(Path(folder), server.server_address[1], int(options.gigabytes * 1e9))
        server.shutdown()
    if growth > options.most:
        raise SystemExit(f"grew by {growth:.1f} MB, more than {options.most:g}")


if __name__ == "__main__":
    main()
