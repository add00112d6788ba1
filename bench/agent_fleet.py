# SPDX-License-Identifier: Apache-2.0
"""Many real agents in few processes, for benches: mezd's own tunnel, API channel and heartbeat, without its SSH server.

The identities come straight from a hub's services, before the hub starts; no token is used over the network.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import attrs
import trio

from mezite.agent.assembly import Agent
from mezite.agent.daemon import _beat
from mezite.agent.identity_store import AgentIdentityFiles, IdentityStore, StoredIdentity
from mezite.agent.joining import make_keys, public_keys
from mezite.config.loader import load_agent_config, load_hub_config
from mezite.core.join_token import parse_join_token
from mezite.hub.ground import open_ground
from mezite.services.nodes.enrollment import JoinRequest
from mezite.services.sources import system_sources

PROCESSES = multiprocessing.get_context("spawn")
POLL_SECONDS = 0.05

Member = tuple[StoredIdentity, AgentIdentityFiles]


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def enroll(config: str, count: int) -> list[Member]:
    """Let ``count`` agents join the hub of that configuration, which is not running."""
    async with (
        open_ground(load_hub_config(config, {}), system_sources()) as ground,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(ground.audit.run)
        keys = make_keys()  # one pair for all: the hub tells agents apart by their certificates
        members = [await join(ground, f"node-{number}", keys) for number in range(count)]
        nursery.cancel_scope.cancel()
    return members


async def join(ground, name: str, keys: AgentIdentityFiles) -> Member:
    token = await ground.enrollment.create_token(roles=("node",), ttl_seconds=600, labels={}, by="bench")
    tls_key, ssh_key = public_keys(keys)
    parsed = parse_join_token(token.text.reveal())
    request = JoinRequest(
        secret=parsed.secret,
        node_name=name,
        labels={"env": "bench"},
        version="bench",
        tls_public_key_pem=tls_key.encode(),
        ssh_public_key=ssh_key,
        agent_time=now_ms(),
    )
    enrolled = await ground.enrollment.join(request, client_address="127.0.0.1:0")
    authorities, issued = ground.authorities, enrolled.certificates
    identity = StoredIdentity(
        agent_id=enrolled.agent.agent_id,
        cluster_name=authorities.cluster,
        node_name=name,
        host_ca_pin=parsed.ca_pin,
        tls_certificate_pem=issued.tls_certificate_pem,
        ssh_host_certificate=issued.ssh_host_certificate,
        host_tls_ca_pem=tuple(authorities.host_tls_ca_pem),
        user_ssh_ca=tuple(authorities.user_ssh_ca_lines),
    )
    return identity, keys


@attrs.frozen
class Fleet:
    """Processes full of agents."""

    pipes: Sequence[Connection]

    def wait_connected(self) -> float:
        """Until all agents of all processes have a tunnel; ``time.monotonic()`` of when the last had."""
        return max(self._ask("wait"))

    def wait_disconnected(self) -> float:
        """Until no agent has a tunnel."""
        return max(self._ask("wait lost"))

    def _ask(self, what: str) -> list[float]:
        for pipe in self.pipes:
            pipe.send(what)
        return [pipe.recv() for pipe in self.pipes]


@contextlib.contextmanager
def running_fleet(members: Sequence[Member], tunnel_address: str, processes: int = 2) -> Iterator[Fleet]:
    pipes, running = [], []
    try:
        for number in range(processes):
            here, there = PROCESSES.Pipe()
            process = PROCESSES.Process(
                target=fleet_process, args=(members[number::processes], tunnel_address, there), daemon=True
            )
            process.start()
            there.close()
            pipes.append(here)
            running.append(process)
        yield Fleet(pipes)
    finally:
        for process in running:
            process.kill()
            process.join()


def fleet_process(members: Sequence[Member], tunnel_address: str, pipe: Connection) -> None:
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(EOFError, KeyboardInterrupt):
        trio.run(run_fleet, members, tunnel_address, pipe)


async def run_fleet(members: Sequence[Member], tunnel_address: str, pipe: Connection) -> None:
    config = load_agent_config(None, {"MEZITE_PROXY_ADDR": tunnel_address})
    clients = []
    with tempfile.TemporaryDirectory() as folder:
        async with trio.open_nursery() as nursery:
            for identity, keys in members:
                agent = Agent(config=config, keys=keys, identity=identity, spawner=None, now=now_ms)  # type: ignore[arg-type]
                client = agent.tunnel_client()
                clients.append(client)
                nursery.start_soon(client.run)
                nursery.start_soon(_beat, agent, IdentityStore(Path(folder) / identity.node_name))
            while True:
                wanted = await trio.to_thread.run_sync(pipe.recv)
                while not all((client.connected_at is None) == (wanted == "wait lost") for client in clients):  # noqa: ASYNC110
                    await trio.sleep(POLL_SECONDS)
                pipe.send(time.monotonic())
