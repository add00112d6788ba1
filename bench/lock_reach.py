# SPDX-License-Identifier: Apache-2.0
"""How long a lock takes to end 100 live sessions, on the hub where it is made and on another one.

    python -m bench.lock_reach [--sessions 100] [--rounds 5]

Two hubs on one PostgreSQL, an agent at each that echoes, and on each hub as many connections of one user, each a
TLS connection with a channel to the node in it; all in one process with its clients. The time is what the hubs say
themselves: from the making of the lock to the end of the last session's block. ``seen`` is when the last client has
read the reason, by the clock of the clients.
"""

from __future__ import annotations

import argparse
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import trio

from bench.machine import print_facts
from mezite.cli.hub_client.profile_store import Profile
from mezite.config.schema import DatabaseConfig, ProxyConfig
from mezite.core.mux.connection import ChannelHeader
from mezite.core.rbac.locks import LockTarget
from mezite.core.secret import Secret
from mezite.net.mux_channel import ChannelResetError
from mezite.services.identity.identities import UserIdentity
from mezite.testing.postgres import run_postgres
from tests.handlers.peers import online_agent, user_session
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub

PASSWORD = "correct horse battery staple"
HEADER = {"login": "ubuntu"}


@attrs.define(eq=False)
class Users:
    """Connections that wait for their end."""

    running: int = 0
    cut: int = 0
    last_seen: float = 0
    """When the last one heard, on trio's clock."""
    changed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    async def run(self, hub: LiveHub, profile: Profile, node: str) -> None:
        """Open one connection, and read until it is cut."""
        async with user_session(hub, profile) as session:
            channel = await session.open_channel(ChannelHeader(kind="ssh", target=node, attributes=HEADER))
            await channel.send_all(b"up")
            await channel.receive_some()
            self.running += 1
            self.changed.unpark_all()
            try:
                await channel.receive_some()
            except ChannelResetError:
                self.cut += 1
                self.last_seen = trio.current_time()
                self.changed.unpark_all()

    async def wait(self, *, running: int = 0, cut: int = 0) -> None:
        """Until so many run, or were cut."""
        with trio.fail_after(120):
            while self.running < running or self.cut < cut:
                await self.changed.park()


async def measure(hubs: list[LiveHub], boss: UserIdentity, sessions: int, turn: int) -> str:
    """One round: make the sessions, lock, wait for all."""
    users = [Users() for _ in hubs]
    async with trio.open_nursery() as nursery:
        current, profile = await hubs[0].user(f"user-{turn}")
        for number, (hub, part) in enumerate(zip(hubs, users, strict=True)):
            for _ in range(sessions):
                nursery.start_soon(part.run, hub, profile, f"web-{number}")
            await part.wait(running=sessions)
        locks = hubs[0].hub.services.locks
        begin = trio.current_time()
        made = await locks.create(
            LockTarget.USER, current.user, message="bench", by=boss, client_address="127.0.0.1:1"
        )
        for part in users:
            await part.wait(cut=sessions)
        seen = [round((part.last_seen - begin) * 1000) for part in users]
        everywhere = made.effect
        while everywhere.sessions < sessions * len(hubs):
            await trio.sleep(0.1)
            everywhere = next(
                known.effect for known in await locks.list_locks() if known.row.id == made.row.id
            )
    return (
        f"here {made.effect.sessions} sessions, slowest {made.effect.slowest_ms} ms, seen {seen[0]} ms; "
        f"all hubs {everywhere.sessions} sessions, slowest {everywhere.slowest_ms} ms, seen {max(seen)} ms"
    )


async def run(url: str, folder: Path, sessions: int, rounds: int) -> None:
    """All rounds."""
    proxy = ProxyConfig(
        listen_addr=ANYWHERE,
        ssh_listen_addr=ANYWHERE,
        tunnel_listen_addr=ANYWHERE,
        max_connections_per_ip=sessions * 2 + 100,
    )
    changes = {"database": DatabaseConfig(url=Secret(url)), "proxy": proxy}
    async with AsyncExitStack() as stack:
        hubs = []
        for name in ("one", "two"):
            hubs.append(await stack.enter_async_context(live_hub(folder / name, fresh=True, **changes)))
        for number, hub in enumerate(hubs):
            await stack.enter_async_context(online_agent(hub, await hub.enroll(f"web-{number}")))
        ground = hubs[0].hub.ground
        await ground.accounts.create("boss", roles=("admin",), traits={}, password=PASSWORD, by="bench")
        started = await ground.login.with_password("boss", PASSWORD, client_address="127.0.0.1:1")
        boss = await hubs[0].hub.services.authenticator.by_session(started.token.reveal())
        for turn in range(rounds):
            print(await measure(hubs, boss, sessions, turn), flush=True)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print_facts("bench.lock_reach")
    with tempfile.TemporaryDirectory() as folder, run_postgres() as server:
        trio.run(run, server.create_database("hub"), Path(folder), options.sessions, options.rounds)


if __name__ == "__main__":
    main()
