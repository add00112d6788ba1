# SPDX-License-Identifier: Apache-2.0
"""Redis, PostgreSQL and a gRPC server behind agents, used by their own clients through `msh app login`."""

from __future__ import annotations

import contextlib
import queue
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import grpc
import pytest

from mezite.testing.ports import free_port
from mezite.testing.postgres import PostgresCluster, run_postgres
from mezite.testing.self_signed import self_signed_pem
from tests.e2e.grpc_application import (
    SECONDS,
    SERVICE,
    GrpcApplication,
    grpc_application,
    plain_channel,
    tls_channel,
)
from tests.e2e.harness import Cluster, Daemon, clean_environment, program, running_cluster

pytestmark = pytest.mark.e2e

READ_SECONDS = 30
CERTIFICATE = self_signed_pem("orders.internal")
BACK_SECONDS = 120
"""An agent whose hub was away for half a minute may wait as long before it tries again."""


def run(*command: str | Path, stdin: str = "", **environment: str) -> str:
    """What it prints; it has to succeed."""
    done = subprocess.run(
        command,
        input=stdin,
        env=clean_environment(environment),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    port = free_port()
    settings = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(["redis-server", *settings], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    with process, process.stdout as lines:
        try:
            assert any("Ready to accept connections" in line for line in lines)
            yield port
        finally:
            process.kill()


@contextlib.contextmanager
def counting_server() -> Iterator[int]:
    """Reads all that a client has to say, and only when that has ended answers how much it was."""

    def answer(client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            count = 0
            while data := client.recv(65536):
                count += len(data)
            client.sendall(str(count).encode())

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _address = server.accept()
                threading.Thread(target=answer, args=(client,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join(READ_SECONDS)


@attrs.define(eq=False)
class Tunnels:
    """`msh app login` as it runs, with the port of each application."""

    msh: Daemon
    ports: dict[str, int]


@contextlib.contextmanager
def app_login(cluster: Cluster, *arguments: str, home: str = "msh") -> Iterator[Tunnels]:
    environment = clean_environment(cluster.msh_environment(home))
    command = program("msh", "app", "login", *arguments)
    msh = Daemon(command, environment, cluster.folder / "msh.log", stdout=subprocess.PIPE)
    assert msh.process.stdout is not None
    with msh.process.stdout as output:
        try:
            count = sum(word.isalpha() for word in arguments)
            yield Tunnels(msh, dict(printed_port(output.readline()) for _ in range(count)))
        finally:
            msh.kill()


def printed_port(line: str) -> tuple[str, int]:
    """From a line of the contract."""
    match = re.fullmatch(r"Tunnel open: 127\.0\.0\.1:([0-9]+) -> ([a-z]+)\n", line)
    assert match is not None, line
    return match[2], int(match[1])


@attrs.define(eq=False)
class World:
    cluster: Cluster
    tunnels: Tunnels
    postgres: PostgresCluster
    fixed_port: int
    grpc: GrpcApplication

    def redis(self, *arguments: str, port: int = 0) -> str:
        return run("redis-cli", "-p", str(port or self.tunnels.ports["redis"]), *arguments).strip()

    def ended(self, app: str) -> list[dict[str, object]]:
        return [
            event for event in self.cluster.audit("--type=app.session.end") if event["resource_name"] == app
        ]


def register(cluster: Cluster, name: str, port: int, *agents: str) -> None:
    bound = [word for agent in agents for word in ("--agent-hostname", agent)]
    cluster.mezctl("apps", "register", "--name", name, "--uri", f"tcp://127.0.0.1:{port}", *bound)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("apps")
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(redis_server(folder))
        postgres = stack.enter_context(run_postgres())
        counting = stack.enter_context(counting_server())
        cluster = stack.enter_context(running_cluster(folder, proxy={"apps_domain": "apps.localhost"}))
        for name in ("node-a", "node-b"):
            cluster.start_agent(name)
        register(cluster, "redis", redis, "node-a", "node-b")
        register(cluster, "postgres", postgres.port, "node-a")
        register(cluster, "counter", counting, "node-b")
        calls = stack.enter_context(grpc_application())
        secure = stack.enter_context(grpc_application(*CERTIFICATE))
        register(cluster, "grpc", calls.port, "node-a", "node-b")
        register(cluster, "grpcs", secure.port, "node-b")
        cluster.login()
        fixed = free_port()
        tunnels = stack.enter_context(
            app_login(cluster, "redis", "--port", str(fixed), "postgres", "counter", "grpc", "grpcs")
        )
        yield World(cluster, tunnels, postgres, fixed, calls)


def test_redis_by_its_own_clients(world: World) -> None:
    """And what was moved is on record."""
    assert world.tunnels.ports["redis"] == world.fixed_port
    assert world.redis("ping") == "PONG"
    assert world.redis("set", "greeting", "x" * 100_000) == "OK"
    assert world.redis("get", "greeting") == "x" * 100_000
    port = str(world.tunnels.ports["redis"])
    report = run("redis-benchmark", "-p", port, "-q", "-n", "2000", "-c", "20", "-t", "set,get")
    assert report.count("requests per second") == 2
    moved = [event for event in world.ended("redis") if event["bytes_to_user"] > 100_000]
    assert len(moved) == 1, "the GET, in a connection of its own"
    assert moved[0]["bytes_from_user"] < 1000
    assert moved[0]["user_name"] == "admin"


def test_postgresql_by_its_own_clients(world: World) -> None:
    password, port = world.postgres.password, str(world.tunnels.ports["postgres"])
    where = ["-h", "127.0.0.1", "-p", port, "-U", "mezite"]
    psql = [world.postgres.binaries / "psql", *where, "-X", "-A", "-t", "-d", "postgres"]
    assert run(*psql, "-c", "select 6 * 7", PGPASSWORD=password) == "42\n"
    rows = run(*psql, "-c", "select repeat('y', 1000) from generate_series(1, 2000)", PGPASSWORD=password)
    assert rows == ("y" * 1000 + "\n") * 2000
    bench = [world.postgres.binaries / "pgbench", *where]
    run(*bench, "-q", "-i", "postgres", PGPASSWORD=password)
    report = run(*bench, "-c", "4", "-j", "2", "-t", "25", "postgres", PGPASSWORD=password)
    assert "number of transactions actually processed: 100/100" in report


def test_grpc_by_its_own_client(world: World) -> None:
    """Metadata and trailers both ways, every kind of call, many at once in one connection."""
    with plain_channel(world.tunnels.ports["grpc"]) as channel:
        echo = channel.unary_unary(f"/{SERVICE}/Echo")
        answer, call = echo.with_call(b"x" * 3_000_000, metadata=(("here", "and there"),), timeout=SECONDS)
        assert answer == b"x" * 3_000_000
        assert ("there", "and there") in call.initial_metadata()
        assert ("checked-bin", bytes(range(256))) in call.trailing_metadata()
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary(f"/{SERVICE}/Fail")(b"", timeout=SECONDS)
        assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert failed.value.details() == "nicht jetzt: später"
        assert ("retry-after", "5") in failed.value.trailing_metadata()
        counted = channel.unary_stream(f"/{SERVICE}/Count")(b"500", timeout=SECONDS)
        assert list(counted) == [b"%d" % number for number in range(500)]
        parts = iter([b"y" * 10_000] * 100)
        assert channel.stream_unary(f"/{SERVICE}/Total")(parts, timeout=SECONDS) == b"1000000"
        calls = [echo.future(b"%d" % number, timeout=SECONDS) for number in range(50)]
        assert [call.result() for call in calls] == [b"%d" % number for number in range(50)]


def test_grpc_in_lockstep_and_cancelled(world: World) -> None:
    """Each message is answered before the next one is said: nothing on the way waits for more of them."""
    said: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    with plain_channel(world.tunnels.ports["grpc"]) as channel:
        chat = channel.stream_stream(f"/{SERVICE}/Chat")(iter(said.get, None), timeout=SECONDS)
        for word in (b"one", b"two", b"three"):
            said.put(word)
            assert next(chat) == word.upper()
        said.put(None)
        assert list(chat) == []
        watch = channel.unary_stream(f"/{SERVICE}/Watch")(b"", timeout=SECONDS)
        assert [next(watch) for _ in range(3)] == [b"1", b"2", b"3"]
        assert not world.grpc.gone.is_set()
        watch.cancel()
        assert world.grpc.gone.wait(READ_SECONDS), "the server has heard of it"
        # The connection, and other calls in it, go on.
        assert channel.unary_unary(f"/{SERVICE}/Echo")(b"still here", timeout=SECONDS) == b"still here"


def test_grpc_with_tls_of_its_own(world: World) -> None:
    """From end to end: what is on the way sees ciphertext."""
    with tls_channel(world.tunnels.ports["grpcs"], CERTIFICATE[0], "orders.internal") as channel:
        assert channel.unary_unary(f"/{SERVICE}/Echo")(b"in secret", timeout=SECONDS) == b"in secret"


def test_a_half_closed_connection_goes_on(world: World) -> None:
    """As with `nc -N`: our end says that it has ended, and the answer still comes."""
    with socket.create_connection(("127.0.0.1", world.tunnels.ports["counter"]), READ_SECONDS) as client:
        client.sendall(b"z" * 3_000_000)
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(100), b""))
    assert answer == b"3000000"


def test_in_a_websocket(world: World) -> None:
    world.cluster.login("admin", "--websocket", home="websocket")
    with app_login(world.cluster, "redis", home="websocket") as tunnels:
        assert world.redis("ping", port=tunnels.ports["redis"]) == "PONG"


def test_the_next_agent_when_one_is_killed(world: World) -> None:
    before = len(world.ended("redis"))
    world.cluster.agents["node-a"].kill()
    for _ in range(6):
        assert world.redis("ping") == "PONG"
    served = {event["server_hostname"] for event in world.ended("redis")[: -before or None]}
    assert "node-b" in served
    lost = subprocess.run(
        ["redis-cli", "-p", str(world.tunnels.ports["postgres"]), "ping"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "PONG" not in lost.stdout
    world.tunnels.msh.wait_for(lambda line: "application postgres cannot be reached" in line)


def test_the_ports_stay_while_the_hub_restarts(world: World) -> None:
    hub = world.cluster.hub
    assert hub is not None
    seen = len(world.tunnels.msh.lines)
    hub.stop(signal.SIGKILL)
    world.tunnels.msh.wait_for(lambda line: "connecting again" in line, after=seen)
    world.cluster.start_hub()
    world.tunnels.msh.wait_for(
        lambda line: "connected to the hub again" in line, after=seen, seconds=BACK_SECONDS
    )
    # msh is often back before the agent.
    ping = ["redis-cli", "-p", str(world.tunnels.ports["redis"]), "ping"]
    deadline = time.monotonic() + BACK_SECONDS
    while subprocess.run(ping, capture_output=True, timeout=60, check=False).stdout != b"PONG\n":
        assert time.monotonic() < deadline, "the agent has not come back"


def test_what_is_wrong_is_said_at_once(world: World) -> None:
    taken = world.cluster.msh("app", "login", "redis", "--port", str(world.fixed_port), check=False)
    assert (taken.returncode, taken.stdout) == (1, "")
    assert taken.stderr.startswith(
        f"error: cannot listen on 127.0.0.1:{world.fixed_port} for redis: the port is taken"
    )
    missing = world.cluster.msh("app", "login", "nosuch", check=False)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.startswith(
        "error: application nosuch: not found, or you may not use it; `msh app ls`"
    )
