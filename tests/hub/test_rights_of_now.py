# SPDX-License-Identifier: Apache-2.0
"""A connection that is older than a change of rights (threats E6, E14)."""

import json

from mezite.api.pb.mezite.v1 import nodes_pb2
from mezite.api.rpc import StatusCode
from mezite.services.access.roles import RoleCatalog
from mezite.storage import users
from tests.hub.matrix import node_header, open_cluster, opened

LIST_NODES = "/mezite.v1.NodeService/ListNodes"


async def test_channels_of_a_connection_that_is_up(tmp_path):
    """What was taken away is gone at the next channel; the roles are not those of when msh connected."""
    async with open_cluster(tmp_path) as cluster:
        accounts, database = cluster.hub.ground.accounts, cluster.hub.ground.database
        async with cluster.connect(cluster.people["access"]) as session:
            assert await opened(session, node_header()) == "rejected UNREACHABLE"
            await accounts.update("access", roles=(), traits=None, by="root")
            assert await opened(session, node_header()) == "rejected NOT_FOUND"
            await accounts.update("access", roles=("access",), traits=None, by="root")
            assert await opened(session, node_header()) == "rejected UNREACHABLE"
            await database.write(users.set_disabled, name="access", disabled=True, now=cluster.now)
            assert await opened(session, node_header()) == "rejected REFUSED"


async def test_calls_on_a_connection_that_is_up(tmp_path):
    async with open_cluster(tmp_path) as cluster:
        person, method = cluster.people["access"], cluster.hub.api.methods[LIST_NODES]
        for by in ("session", "certificate"):
            async with cluster.client(person, by) as client:
                request = nodes_pb2.ListNodesRequest()
                assert await cluster.call(client, person, method, request, by) is StatusCode.OK
                for disabled, expected in ((True, StatusCode.UNAUTHENTICATED), (False, StatusCode.OK)):
                    await cluster.hub.ground.database.write(
                        users.set_disabled, name="access", disabled=disabled, now=cluster.now
                    )
                    assert await cluster.call(client, person, method, request, by) is expected


def deploy_role(**spec):
    allow = {"node_labels": {"*": "*"}, "logins": ["deploy"]}
    metadata = {"name": "deploy"}
    return json.dumps(
        {"kind": "role", "version": "v1", "metadata": metadata, "spec": {"allow": allow, **spec}}
    )


async def test_a_role_that_changes_under_a_connection_that_is_up(tmp_path):
    """A stored role is read at each use, as the user is: no connection keeps what it was (E6)."""
    async with open_cluster(tmp_path) as cluster:
        ground = cluster.hub.ground
        catalog = RoleCatalog(database=ground.database, audit=ground.audit, sources=ground.sources)

        async def put(**spec):
            await catalog.put(deploy_role(**spec), by="root", client_address="")

        async with cluster.connect(cluster.people["access"]) as session:
            assert await opened(session, node_header()) == "rejected UNREACHABLE"
            await put(deny={"node_labels": {"*": "*"}})
            await ground.accounts.update("access", roles=("access", "deploy"), traits=None, by="root")
            assert await opened(session, node_header()) == "rejected NOT_FOUND"
            await put()
            assert await opened(session, node_header()) == "rejected UNREACHABLE"
            await put(deny={"logins": ["*"]})
            assert await opened(session, node_header()) == "rejected NOT_FOUND"
