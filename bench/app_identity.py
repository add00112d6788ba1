# SPDX-License-Identifier: Apache-2.0
"""What one request to an application costs beside its bytes: the assertion, and the record of it.

    python -m bench.app_identity [--seconds 3] [--dir DIR]

Processor time of the process, best of five rounds, for assertions; records per second on SQLite and PostgreSQL, both
synchronising to disk: as many as 64 connections can leave, and how long the slowest of a hundred waits. The directory
must be on a real disk: on tmpfs an fsync costs nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import trio

from bench.machine import print_facts
from mezite.core.apps.app import App
from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.assertion.verifier import verify_assertion
from mezite.core.trace_context import trace_of
from mezite.services.apps.assertions import AppAssertions
from mezite.services.apps.request_log import AppRequest, AppRequestLog
from mezite.services.audit_log import AuditLog
from mezite.services.authorities.key_export import app_jwks
from mezite.services.sources import system_sources
from mezite.storage.database import Database
from mezite.testing.postgres import run_postgres
from tests.services.world import CLIENT, World, make_template, open_world

GRAFANA = App(
    name="grafana",
    uri="http://127.0.0.1:3000",
    public_addr="grafana.apps.example.com",
    labels={"env": "prod", "team": "platform"},
    agent_hostnames=("web-1",),
)
CONNECTIONS = 64


def best(work: Callable[[], object], times: int = 2000) -> float:
    """Processor microseconds of one call, in the fastest of five rounds."""
    taken = []
    for _ in range(5):
        before = time.process_time()
        for _ in range(times // 5):
            work()
        taken.append((time.process_time() - before) / (times // 5))
    return min(taken) * 1e6


async def measure_assertions(world: World) -> AppRequest:
    """Print what an assertion costs; return a request for the log."""
    assertions = AppAssertions(
        authorities=world.authorities, issuer=lambda: "https://mezite.example.com", sources=system_sources()
    )
    keys = AssertionKeys.parse(json.dumps(app_jwks(world.authorities)))
    for name, count in (("alice", 3), ("bob", 200)):
        roles = tuple(f"team-{number:03}" for number in range(count))
        for role in roles:
            document = {"kind": "role", "version": "v1", "metadata": {"name": role}, "spec": {}}
            await world.roles.put(json.dumps(document), by="root", client_address=CLIENT)
        user = await world.user(name, roles=roles)
        token = assertions.fields(GRAFANA, user)[0][1]
        cost = best(lambda user=user: assertions.fields(GRAFANA, user))
        print(
            f"identity fields, {count:3} roles: {cost:6.1f} us, {1e6 / cost:6.0f}/s, token {len(token)} bytes"
        )
    now = time.time()
    cost = best(lambda: verify_assertion(token, keys, audience=GRAFANA.uri, now=now))
    print(f"verified by a backend:      {cost:6.1f} us, {1e6 / cost:6.0f}/s")
    fresh, fields = bytes(range(1, 25)), [(b"traceparent", f"00-{'a' * 32}-{'b' * 16}-01".encode())]
    print(f"trace context:              {best(lambda: trace_of(fields, fresh)):6.1f} us")
    return AppRequest(
        app=GRAFANA,
        identity=await world.session("alice"),
        client_address=CLIENT,
        method="GET",
        target="/api/dashboards/uid/abcdef?orgId=1",
        status=200,
        bytes_sent=5120,
        bytes_received=0,
        duration_ms=12,
        agent="web-1",
        trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
        session_id="01934a55-0000-7000-8000-000000000000",
    )


async def measure_log(url: str, request: AppRequest, seconds: float) -> None:
    """Print how many records are committed in a second while connections leave as many as they can."""
    sources = system_sources()
    async with await Database.open(url) as database, trio.open_nursery() as nursery:
        audit = AuditLog(database=database, cluster="c", hub_id="hub-1", sources=sources)
        log = AppRequestLog(audit=audit, sources=sources)
        await nursery.start(audit.run)
        await nursery.start(log.run)
        waits: list[float] = []
        left = 0

        async def connection() -> None:
            nonlocal left
            while True:
                before = trio.current_time()
                await log.record(request)
                waits.append(trio.current_time() - before)
                left += 1
                await trio.lowlevel.checkpoint()

        began, processor = trio.current_time(), time.process_time()
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as connections:
                for _ in range(CONNECTIONS):
                    connections.start_soon(connection)
        await log.flush()
        elapsed, spent = trio.current_time() - began, time.process_time() - processor
        waits.sort()
        print(
            f"{database.description.split()[0]:10}: {left / elapsed:6.0f} records/s, {spent / left * 1e6:5.0f} us of "
            f"processor each; waiting for room p50 {waits[len(waits) // 2] * 1000:.1f} ms, "
            f"p99 {waits[len(waits) * 99 // 100] * 1000:.1f} ms"
        )
        nursery.cancel_scope.cancel()


async def measure(directory: Path, postgres_url: str, seconds: float) -> None:
    await make_template(directory / "world.db")
    async with open_world(directory / "world.db") as world:
        request = await measure_assertions(world)
    await measure_log(f"{directory}/bench.db", request, seconds)
    await measure_log(postgres_url, request, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0, help="for each database")
    parser.add_argument("--dir", type=Path, help="where the SQLite file goes")
    arguments = parser.parse_args()
    print_facts("bench.app_identity")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(dir=arguments.dir))
        cluster = stack.enter_context(run_postgres(fsync=True))
        trio.run(measure, Path(directory), cluster.create_database("bench"), arguments.seconds)


if __name__ == "__main__":
    main()
