# SPDX-License-Identifier: Apache-2.0
"""A TCP application by ``msh app login`` against the same by ``ssh -L`` and ``ssh -R``, in pairs; prints ratios.

    python -m bench.app_tcp [--requests 20000] [--megabytes 64] [--rounds 5]

Ours: client -> msh -> hub -> agent -> server, real programs all of them. Theirs: client -> ``ssh -L`` -> sshd ->
``ssh -R`` -> server, aes128-gcm. The server is a Redis: requests by redis-benchmark (GET of 3 bytes, 1 and 50
connections), bulk by one SET and one GET of a large value. A round measures both ways one after the other.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from bench.machine import median, print_facts
from bench.plain_sshd import plain_sshd, wait_for_port
from mezite.testing.ports import free_port
from tests.e2e.harness import Daemon, clean_environment, program, running_cluster

CHUNK = 1024 * 1024
WAIT_SECONDS = 120


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    port = free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *settings], stdout=subprocess.DEVNULL)
    try:
        wait_for_port(port)
        yield port
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def through_mezite(server: int) -> Iterator[int]:
    """The port at which msh listens."""
    with tempfile.TemporaryDirectory() as folder:
        path, port = Path(folder), free_port()
        with running_cluster(path, proxy={"apps_domain": "apps.localhost"}) as cluster:
            cluster.start_agent("node-a")
            where = ["--uri", f"tcp://127.0.0.1:{server}", "--agent-hostname", "node-a"]
            cluster.mezctl("apps", "register", "--name", "redis", *where)
            cluster.login()
            environment = clean_environment(cluster.msh_environment())
            command = program("msh", "app", "login", "redis", "--port", str(port))
            msh = Daemon(command, environment, path / "msh.log", stdout=subprocess.PIPE)
            assert msh.process.stdout is not None
            with msh.process.stdout as output:
                try:
                    assert output.readline().startswith("Tunnel open: ")
                    yield port
                finally:
                    msh.kill()


@contextlib.contextmanager
def through_ssh(server: int) -> Iterator[int]:
    """The port at which ``ssh -L`` listens."""
    port, middle = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder, plain_sshd(Path(folder)) as sshd:
        agent = subprocess.Popen(
            sshd.client("-N", "-R", f"127.0.0.1:{middle}:127.0.0.1:{server}", "127.0.0.1")
        )
        user = subprocess.Popen(sshd.client("-N", "-L", f"127.0.0.1:{port}:127.0.0.1:{middle}", "127.0.0.1"))
        try:
            wait_for_port(middle)
            wait_for_port(port)
            yield port
        finally:
            for process in (agent, user):
                process.kill()
                process.wait()


@attrs.frozen
class Requests:
    """What redis-benchmark says of GET."""

    per_second: float
    p50: float
    p99: float


def requests(port: int, connections: int, count: int) -> Requests:
    command = [
        "redis-benchmark",
        "-p",
        str(port),
        "--csv",
        "-t",
        "get",
        "-c",
        str(connections),
        "-n",
        str(count),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=WAIT_SECONDS)
    (row,) = [row for row in csv.DictReader(io.StringIO(done.stdout)) if row["test"] == "GET"]
    return Requests(float(row["rps"]), float(row["p50_latency_ms"]), float(row["p99_latency_ms"]))


def exchange(port: int, request: bytes, answer_bytes: int) -> float:
    """MB/s of a request and its answer, whichever is the large one."""
    with socket.create_connection(("127.0.0.1", port), WAIT_SECONDS) as sock:
        started = time.perf_counter()
        sock.sendall(request)
        buffer, left = bytearray(CHUNK), answer_bytes
        while left:
            got = sock.recv_into(buffer, min(CHUNK, left))
            if not got:
                raise ConnectionError("the way ended early")
            left -= got
        return max(len(request), answer_bytes) / (time.perf_counter() - started) / 1e6


def write(port: int, size: int) -> float:
    head = f"*3\r\n$3\r\nSET\r\n$4\r\nbulk\r\n${size}\r\n".encode()
    return exchange(port, head + bytes(size) + b"\r\n", len(b"+OK\r\n"))


def read(port: int, size: int) -> float:
    return exchange(port, b"*2\r\n$3\r\nGET\r\n$4\r\nbulk\r\n", len(f"${size}\r\n") + size + 2)


def pairs(measure: Callable[[int], float], ports: tuple[int, int], rounds: int) -> list[tuple[float, float]]:
    return [(measure(ports[0]), measure(ports[1])) for _ in range(rounds)]


def report(what: str, unit: str, found: list[tuple[float, float]]) -> None:
    ours, theirs = (median(pair[side] for pair in found) for side in (0, 1))
    ratios = [pair[0] / pair[1] for pair in found]
    print(
        f"{what:28} msh {ours:8.2f} {unit}, ssh {theirs:8.2f} {unit}; "
        f"ratio of medians {ours / theirs:.2f}x, of pairs {min(ratios):.2f}-{max(ratios):.2f}x",
        flush=True,
    )


def report_requests(ports: tuple[int, int], connections: int, count: int, rounds: int) -> None:
    found = [tuple(requests(port, connections, count) for port in ports) for _ in range(rounds)]
    for name, unit in (("per_second", "/s"), ("p50", "ms"), ("p99", "ms")):
        what = f"GET, {connections} connections, {name}"
        report(what, unit, [(getattr(ours, name), getattr(theirs, name)) for ours, theirs in found])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--requests", type=int, default=20_000, help="in each measurement with 50 connections"
    )
    parser.add_argument("--megabytes", type=int, default=64, help="of the large value")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print_facts("bench.app_tcp")
    size = options.megabytes * 1_000_000
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(redis_server(folder))
        ports = (stack.enter_context(through_mezite(server)), stack.enter_context(through_ssh(server)))
        for port in ports:
            requests(port, 10, 1000)
            write(port, size)
        report_requests(ports, 1, options.requests // 10, options.rounds)
        report_requests(ports, 50, options.requests, options.rounds)
        report("SET, one large value", "MB/s", pairs(lambda port: write(port, size), ports, options.rounds))
        report("GET, one large value", "MB/s", pairs(lambda port: read(port, size), ports, options.rounds))


if __name__ == "__main__":
    main()
