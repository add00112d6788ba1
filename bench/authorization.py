# SPDX-License-Identifier: Apache-2.0
"""What decisions cost: the list of 10,000 nodes for a user with 20 roles, and single logins.

    python -m bench.authorization [--nodes 10000] [--roles 20] [--rounds 5]

Prints processor milliseconds of the process, the best of the rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.storage import agents
from mezite.storage.agents import NewAgent
from tests.services.world import World, make_template, open_world

CONTEXT = AccessContext(client_address="192.0.2.7:4711", decision_id="")


def team_role(index: int) -> str:
    """Two teams and a pattern in two environments; every fifth role denies what is restricted."""
    spec = {
        "allow": {
            "node_labels": {
                "team": [f"t{index}", f"t{index + 1}", "^x-.*$"],
                "env": ["prod", "staging"],
            },
            "logins": ["ubuntu", "{{internal.logins}}", f"app{index}"],
        },
        "deny": {"node_labels": {"sensitivity": "restricted"}} if index % 5 == 0 else {},
    }
    return json.dumps({"kind": "role", "version": "v1", "metadata": {"name": f"team-{index}"}, "spec": spec})


def labels_of(index: int, chance: random.Random) -> dict[str, str]:
    """Four labels; the host's own is on no other node."""
    return {
        "team": f"t{chance.randrange(40)}",
        "env": chance.choice(["prod", "staging", "dev"]),
        "sensitivity": chance.choice(["low", "restricted", "none"]),
        "host": f"n{index}",
    }


async def fill(world: World, nodes: int, roles: int) -> None:
    """The user ``alice`` with her roles, and the nodes, of which she may reach about a quarter."""
    for index in range(roles):
        await world.roles.put(team_role(index), by="root", client_address=CONTEXT.client_address)
    await world.user("alice", roles=tuple(f"team-{index}" for index in range(roles)), logins=("alice",))
    chance = random.Random(1)

    def insert(conn) -> None:
        for index in range(nodes):
            agent = NewAgent(
                agent_id=f"agent-{index:06}", node_name=f"n{index}", labels=labels_of(index, chance)
            )
            agents.register(conn, agent=agent, now=world.clock.now)

    await world.database.write(insert)


async def best(rounds: int, work: Callable[[], Awaitable[int]]) -> tuple[float, int]:
    """Milliseconds of the fastest round, and what `work()` returned."""
    taken, result = [], 0
    for _ in range(rounds):
        before = time.process_time()
        result = await work()
        taken.append((time.process_time() - before) * 1000)
    return min(taken), result


async def measure(nodes: int, roles: int, rounds: int) -> None:
    """Fill a database, ask, print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hub.db"
        await make_template(path)
        async with open_world(path) as world:
            await fill(world, nodes, roles)
            token = await world.token("alice")
            chance = random.Random(1)
            labels = [labels_of(index, chance) for index in range(nodes)]

            async def decide() -> int:
                identity = await world.authenticator.by_session(token)
                asked = (Resource(kind="node", name=each["host"], labels=each) for each in labels)
                return sum(
                    authorize(identity, "nodes.connect", resource, CONTEXT).allowed for resource in asked
                )

            async def whole() -> int:
                identity = await world.authenticator.by_session(token)
                listed = await world.directory.list_nodes(
                    identity, labels={}, search="", client_address=CONTEXT.client_address
                )
                return len(listed)

            async def one_login() -> int:
                identity = await world.authenticator.by_session(token)
                resource = Resource(kind="node", labels={"team": "t1", "env": "prod"})
                context = AccessContext(client_address="192.0.2.7:1", decision_id="", login="ubuntu")
                return sum(
                    authorize(identity, "nodes.connect", resource, context).allowed for _ in range(1000)
                )

            for name, work in (
                ("decisions", decide),
                ("the whole list, from SQLite", whole),
                ("1,000 single logins", one_login),
            ):
                taken, result = await best(rounds, work)
                print(f"{name}: {taken:.0f} ms, {result} allowed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=10_000)
    parser.add_argument("--roles", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    trio.run(measure, asked.nodes, asked.roles, asked.rounds)


if __name__ == "__main__":
    main()
