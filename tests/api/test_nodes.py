# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.NodeService` over a connection."""

from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.storage import agents
from tests.api.services import calling_as
from tests.services.tunnels import Closings
from tests.services.world import CLIENT, HUB_ID, START


async def test_a_node_online_offline_and_locked(world):
    agent = await world.agent("web-1", env="prod")
    await world.agent("db-1")
    async with calling_as(world, "alice", roles=("access",)) as call:
        request = pb.GetNodeRequest(name="web-1")
        node = await call("NodeService/GetNode", request)
        assert (node.name, node.status, node.agent_id, node.version) == (
            "web-1",
            "offline",
            agent.agent_id,
            "0.1",
        )
        assert (node.last_seen_ms, node.hub_id, node.lock_reason) == (0, "", "")
        assert (dict(node.labels), list(node.logins)) == ({"env": "prod"}, ["ubuntu"])
        await world.leases.begin(agent, CLIENT)
        with world.registry.claim(Closings().tunnel(agent.agent_id)):
            node = await call("NodeService/GetNode", request)
        assert (node.status, node.last_seen_ms, node.hub_id) == ("online", START, HUB_ID)
        await world.database.write(agents.lock, agent_id=agent.agent_id, reason="lost", now=START)
        assert (await call("NodeService/GetNode", request)).lock_reason == "lost"
        listed = await call("NodeService/ListNodes")
        assert [node.name for node in listed.nodes] == ["db-1", "web-1"]
        found = await call("NodeService/ListNodes", pb.ListNodesRequest(labels={"env": "prod"}, search="web"))
        assert [node.name for node in found.nodes] == ["web-1"]


async def test_who_sees_nothing(world):
    await world.agent("web-1")
    async with calling_as(world, "bob", roles=("auditor",)) as call:
        assert list((await call("NodeService/ListNodes")).nodes) == []
        error = await call.refused("NodeService/GetNode", pb.GetNodeRequest(name="web-1"))
        assert error.status is StatusCode.NOT_FOUND


async def test_removing(world):
    await world.agent("web-1")
    request = pb.RemoveNodeRequest(name="web-1")
    async with calling_as(world) as call:
        await call("NodeService/RemoveNode", request)
        assert (await call.refused("NodeService/RemoveNode", request)).status is StatusCode.NOT_FOUND
