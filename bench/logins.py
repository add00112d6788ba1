# SPDX-License-Identifier: Apache-2.0
"""Logins a second, on SQLite and on PostgreSQL, and how much of it is the hash of the password.

    python -m bench.logins [--seconds 5] [--clients 16]

One process is the hub's services and all clients; nothing goes over a network. `password` is a session for a password,
`password and code` for a user with TOTP, `certificates` what `msh login` asks for next, `SSH certificate` what each
`ssh` costs. A line behind it has the same with a hash that costs nothing: the rest is database, audit log and Python.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio

from bench.machine import print_facts, quantile
from mezite.core.totp import STEP_SECONDS
from mezite.services.login.codes import ShownCode
from mezite.services.login.password_login import LoginService
from mezite.services.users.accounts import Accounts
from mezite.storage.database import Database
from mezite.storage.password_hasher import PasswordHasher
from mezite.testing.postgres import run_postgres
from tests.services.login.second_factors import Telephone, add_totp
from tests.services.world import HUB_ID, PASSWORD, Clock, World, cheap_hasher, fake_sources, wired

CHEAP = ", a hash that costs nothing"

Work = Callable[[int], Awaitable[object]]


@attrs.frozen(kw_only=True)
class Desk:
    """A hub's services with users who can log in; client number N is user N, from an address of its own."""

    world: World
    login: LoginService
    phones: list[Telephone]

    async def with_password(self, client: int) -> object:
        return await self.login.with_password(f"user{client}", PASSWORD, client_address=address(client))

    def wait(self) -> None:
        """Each code is good once: half a minute goes by, for everybody."""
        self.world.clock.now += STEP_SECONDS * 1000

    async def with_code(self, client: int) -> object:
        return await self.login.with_password(
            f"phone{client}",
            PASSWORD,
            client_address=address(client),
            shown=ShownCode(totp=self.phones[client].code()),
        )


def _nothing() -> None:
    return


def address(client: int) -> str:
    return f"192.0.2.{client}:50000"


async def open_desk(world: World, hasher: PasswordHasher, clients: int) -> Desk:
    common = {"database": world.database, "audit": world.audit, "sources": world.sources}
    login = LoginService(passwords=hasher, codes=world.codes, locks=world.lock_feed, **common)
    accounts = Accounts(login=login, passwords=hasher, **common)
    phones = []
    for client in range(clients):
        for kind in ("user", "phone"):
            await accounts.create(
                f"{kind}{client}",
                roles=("access",),
                traits={"logins": ("ubuntu",)},
                password=PASSWORD,
                by="bench",
            )
        started = await login.with_password(f"phone{client}", PASSWORD, client_address=address(client))
        identity = await world.authenticator.by_session(started.token.reveal())
        desk_world = attrs.evolve(world, login=login)
        phones.append(await add_totp(desk_world, identity))
    return Desk(world=world, login=login, phones=phones)


async def rate(
    work: Work, clients: int, seconds: float, between: Callable[[], None]
) -> tuple[float, float, float]:
    """How many a second, the median and the 99th percentile in milliseconds; all clients begin each round together."""
    taken: list[float] = []
    begin = time.perf_counter()

    async def client(number: int) -> None:
        before = time.perf_counter()
        await work(number)
        taken.append((time.perf_counter() - before) * 1000)

    while time.perf_counter() < begin + seconds:
        between()
        async with trio.open_nursery() as nursery:
            for number in range(clients):
                nursery.start_soon(client, number)
    return len(taken) / (time.perf_counter() - begin), quantile(taken, 0.5), quantile(taken, 0.99)


async def measure(url: str, name: str, hasher: PasswordHasher, clients: int, seconds: float) -> None:
    is_real = not name.endswith(CHEAP)
    clock = Clock()
    async with await Database.open(url) as database, trio.open_nursery() as nursery:
        world = await wired(database, Path(), clock, fake_sources(clock, start=time.time_ns()), HUB_ID)
        await nursery.start(world.audit.run)
        desk = await open_desk(world, hasher, clients)
        identity = await world.authenticator.by_session(
            (await desk.login.with_password("user0", PASSWORD, client_address=address(0))).token.reveal()
        )
        issued = await world.issue(identity)
        verified = world.verified_ssh(issued)
        works: dict[str, Work] = {"password": desk.with_password, "password and code": desk.with_code}
        if is_real:
            works |= {
                "certificates": lambda _client: world.issue(identity),
                "SSH certificate": lambda _client: world.authenticator.by_ssh_certificate(verified),
            }
        for what, work in works.items():
            found, middle, worst = await rate(
                work, clients, seconds, desk.wait if "code" in what else _nothing
            )
            print(
                f"{name}: {what}: {found:.1f}/s, p50 {middle:.1f} ms, p99 {worst:.1f} ms",
                flush=True,
            )
        nursery.cancel_scope.cancel()


@contextmanager
def databases() -> Iterator[dict[str, str]]:
    """Where each is, by its name. One of its own for each hash: what one has stored the other one cannot check."""
    with tempfile.TemporaryDirectory() as folder, run_postgres() as cluster:
        yield {
            "SQLite": f"{folder}/real.db",
            f"SQLite{CHEAP}": f"{folder}/cheap.db",
            "PostgreSQL": cluster.create_database("real"),
            f"PostgreSQL{CHEAP}": cluster.create_database("cheap"),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--clients", type=int, default=16)
    asked = parser.parse_args()
    print_facts("bench.logins")
    with databases() as urls:
        for name, url in urls.items():
            hasher = cheap_hasher() if name.endswith(CHEAP) else PasswordHasher()
            trio.run(measure, url, name, hasher, asked.clients, asked.seconds)


if __name__ == "__main__":
    main()
