# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.NodeService`."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.nodes.directory import NodeDirectory, VisibleNode

__all__ = ["NodesApi"]

_SERVICE = "/mezite.v1.NodeService/"


class NodesApi:
    """The RPCs of one service."""

    def __init__(self, directory: NodeDirectory) -> None:
        self._directory = directory

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        listing = unary(_SERVICE + "ListNodes", pb.ListNodesRequest, pb.ListNodesResponse)
        get = unary(_SERVICE + "GetNode", pb.GetNodeRequest, pb.Node)
        remove = unary(_SERVICE + "RemoveNode", pb.RemoveNodeRequest, pb.RemoveNodeResponse)
        return [
            listing(self.list_nodes, "self.nodes.list", "node"),
            get(self.get, "self.nodes.get", "node"),
            remove(self.remove, "nodes.remove", "node"),
        ]

    async def list_nodes(self, request: pb.ListNodesRequest, context: CallContext) -> pb.ListNodesResponse:
        """The nodes that the caller may reach or administer."""
        nodes = await self._directory.list_nodes(
            user_of(context),
            labels=dict(request.labels),
            search=request.search,
            client_address=context.peer.client_address,
        )
        return pb.ListNodesResponse(nodes=[_message(node) for node in nodes])

    async def get(self, request: pb.GetNodeRequest, context: CallContext) -> pb.Node:
        """One node."""
        node = await self._directory.get(
            user_of(context), request.name, client_address=context.peer.client_address
        )
        return _message(node)

    async def remove(self, request: pb.RemoveNodeRequest, context: CallContext) -> pb.RemoveNodeResponse:
        """Forget a node."""
        await self._directory.remove(
            user_of(context), request.name, client_address=context.peer.client_address
        )
        return pb.RemoveNodeResponse()


def _message(node: VisibleNode) -> pb.Node:
    agent = node.agent
    return pb.Node(
        name=agent.node_name,
        status="online" if node.online else "offline",
        labels=dict(agent.labels),
        agent_id=agent.agent_id,
        version=agent.version,
        last_seen_ms=agent.last_seen or 0,
        hub_id=agent.hub_id or "",
        logins=node.logins,
        lock_reason=agent.lock_reason or "",
    )
