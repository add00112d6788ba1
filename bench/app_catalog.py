# SPDX-License-Identifier: Apache-2.0
"""What 5,000 applications cost: a user's list with 20 roles, one found by its host, and what a change costs a hub.

    python -m bench.app_catalog [--apps 5000] [--roles 20] [--rounds 5]

Prints processor milliseconds of the process, the best of the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from pathlib import Path

import trio

from bench.authorization import CONTEXT, best, labels_of, team_role
from mezite.core.apps.app import App
from mezite.services.app_memory import AppMemory
from mezite.services.apps.launcher import AppLauncher
from mezite.storage import apps
from tests.services.world import World, make_template, open_world

DOMAIN = "apps.example.com"


async def fill(world: World, count: int, roles: int) -> None:
    """The user ``alice`` with her roles, and the applications, of which she may use about a quarter."""
    for index in range(roles):
        role = json.loads(team_role(index))
        for side in ("allow", "deny"):
            labels = role["spec"][side].pop("node_labels", None)
            if labels:
                role["spec"][side]["app_labels"] = labels
        await world.roles.put(json.dumps(role), by="root", client_address=CONTEXT.client_address)
    await world.user("alice", roles=tuple(f"team-{index}" for index in range(roles)), logins=())
    chance = random.Random(1)

    def insert(conn) -> None:
        for index in range(count):
            app = App(
                name=f"app-{index}",
                uri="http://10.0.0.1:3000",
                public_addr=f"app-{index}.{DOMAIN}",
                labels=labels_of(index, chance),
                agent_hostnames=(f"node-{index % 100}",),
            )
            apps.insert(conn, app=app, revision=f"r{index}", now=world.clock.now)

    await world.database.write(insert)


async def measure(count: int, roles: int, rounds: int) -> None:
    """Fill a database, ask, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub.db"
        await make_template(path)
        async with open_world(path) as world:
            await fill(world, count, roles)
            token = await world.token("alice")
            launcher = AppLauncher(
                catalog=world.apps, status=world.app_status, web_url=lambda: "https://hub.example.com"
            )
            address = CONTEXT.client_address

            async def first() -> int:
                return len((await AppMemory(world.database).read()).by_name)

            async def visible() -> int:
                identity = await world.authenticator.by_session(token)
                return len(await world.apps.visible_to(identity, client_address=address))

            async def tiles() -> int:
                identity = await world.authenticator.by_session(token)
                return len(await launcher.tiles(identity, client_address=address))

            async def by_host() -> int:
                found = [await world.apps.by_host(f"app-{index}.{DOMAIN}") for index in range(1000)]
                return sum(app is not None for app in found)

            async def after_a_change() -> int:
                await world.apps.set_enabled("app-7", True, by="root", client_address=address)
                await world.apps.set_enabled("app-7", False, by="root", client_address=address)
                return 2

            for name, work in (
                ("read all at the start", first),
                ("what the user may use", visible),
                ("the same with the state of the agents", tiles),
                ("1,000 found by host", by_host),
                ("two changes, stored and read again", after_a_change),
            ):
                taken, result = await best(rounds, work)
                print(f"{name}: {taken:.0f} ms, {result}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--apps", type=int, default=5000)
    parser.add_argument("--roles", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    trio.run(measure, asked.apps, asked.roles, asked.rounds)


if __name__ == "__main__":
    main()
