# SPDX-License-Identifier: Apache-2.0
"""Which nodes there are, for those who may know."""

import pytest

from mezite.services.errors import NotFoundError
from mezite.services.nodes.tunnel_leases import LEASE_MS
from mezite.storage import agents
from mezite.storage.agents import NewAgent
from tests.services.tunnels import Closings
from tests.services.world import CLIENT, START


async def names(world, user, **search):
    wanted = {"labels": {}, "search": "", "client_address": CLIENT}
    return [node.agent.node_name for node in await world.directory.list_nodes(user, **wanted | search)]


async def get(world, user, name="web-1"):
    return await world.directory.get(user, name, client_address=CLIENT)


@pytest.fixture
async def fleet(world):
    await world.agent("web-1", env="prod", team="a")
    await world.agent("db-1", env="prod", team="b")
    await world.agent("web-2", env="dev", team="a")
    return world


async def test_who_reaches_nodes_sees_them_with_the_logins(fleet):
    user = await fleet.user("alice", logins=("ubuntu", "deploy"))
    assert await names(fleet, user) == ["db-1", "web-1", "web-2"]
    assert (await get(fleet, user)).logins == ("deploy", "ubuntu")


async def test_administrators_see_nodes_that_they_cannot_log_in_to(fleet):
    root = await fleet.user("root", roles=("admin",), logins=())
    assert await names(fleet, root) == ["db-1", "web-1", "web-2"]
    assert (await get(fleet, root)).logins == ()


@pytest.mark.parametrize(
    ("roles", "logins"), [((), ("ubuntu",)), (("auditor",), ("ubuntu",)), (("access",), ())]
)
async def test_everyone_else_sees_nothing(fleet, roles, logins):
    user = await fleet.user("bob", roles=roles, logins=logins)
    assert await names(fleet, user) == []
    with pytest.raises(NotFoundError) as there:
        await get(fleet, user, "web-1")
    with pytest.raises(NotFoundError) as missing:
        await get(fleet, user, "web-9")
    assert str(there.value) == str(missing.value).replace("web-9", "web-1")


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ({"labels": {"env": "prod"}}, ["db-1", "web-1"]),
        ({"labels": {"env": "prod", "team": "a"}}, ["web-1"]),
        ({"labels": {"env": "Prod"}}, []),
        ({"labels": {"zone": ""}}, []),
        ({"search": "web"}, ["web-1", "web-2"]),
        ({"search": "dev"}, ["web-2"]),
        ({"search": "b", "labels": {"team": "b"}}, ["db-1"]),
        ({"search": "%"}, []),
    ],
)
async def test_searching(fleet, search, found):
    assert await names(fleet, await fleet.user("alice"), **search) == found


async def test_online_is_a_tunnel_here_or_a_lease_elsewhere(world):
    user, agent = await world.user("alice"), await world.agent()
    assert not (await get(world, user)).online
    with world.registry.claim(Closings().tunnel(agent.agent_id)):
        assert (await get(world, user)).online
    assert not (await get(world, user)).online
    await world.leases.begin(agent, CLIENT)
    assert (await get(world, user)).online
    world.clock.now += LEASE_MS
    assert not (await get(world, user)).online


async def test_the_list_has_all_nodes(world):
    def many(conn):
        for number in range(1001):
            agents.register(
                conn, agent=NewAgent(agent_id=f"a-{number}", node_name=f"n-{number:04}"), now=START
            )

    await world.database.write(many)
    assert len(await names(world, await world.user("alice"))) == 1001


async def test_removing(world):
    root, agent = await world.user("root", roles=("admin",)), await world.agent("web-1", env="prod")
    closings = Closings()
    with world.registry.claim(closings.tunnel(agent.agent_id)):
        await world.directory.remove(root, "web-1", client_address=CLIENT)
    assert closings.closed == [(agent.agent_id, 1)]
    (event,) = await world.events("node.left")
    assert (event["user_name"], event["resource_name"], event["reason"]) == ("root", "web-1", "removed")
    assert event["resource_labels"] == {"env": "prod"}
    assert await names(world, root) == []
    for name in ("web-1", "web-9", ""):
        with pytest.raises(NotFoundError):
            await world.directory.remove(root, name, client_address=CLIENT)
    assert len(await world.events("node.left")) == 1


async def test_removing_a_node_that_is_offline(world):
    root = await world.user("root", roles=("admin",))
    first = await world.agent("web-1")
    await world.directory.remove(root, "web-1", client_address=CLIENT)
    again = await world.agent("web-1")
    assert again.agent_id != first.agent_id
