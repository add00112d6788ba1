# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.ConnectorService` over a connection."""

import json

from mezite.api.pb.mezite.v1 import connectors_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling_as
from tests.core.oidc.documents import OIDC, oidc
from tests.services.world import START


async def test_a_connector_from_creation_to_deletion(world):
    async with calling_as(world) as call:
        request = pb.PutConnectorRequest(document=json.dumps(OIDC))
        created = await call("ConnectorService/PutConnector", request)
        assert (created.created, created.connector.name, created.connector.has_secret) == (
            True,
            "keycloak",
            True,
        )
        assert created.connector.created_at_ms == created.connector.updated_at_ms == START
        assert list(created.connector.callback_urls) == ["https://hub.example.com/v1/webapi/oidc/callback"]
        assert "s3cret" not in str(created)
        got = await call("ConnectorService/GetConnector", pb.GetConnectorRequest(name="keycloak"))
        assert got == created.connector
        listed = await call("ConnectorService/ListConnectors")
        assert list(listed.connectors) == [got]
        await call("ConnectorService/DeleteConnector", pb.DeleteConnectorRequest(name="keycloak"))
        gone = await call.refused("ConnectorService/GetConnector", pb.GetConnectorRequest(name="keycloak"))
        assert gone.status is StatusCode.NOT_FOUND
        bad = pb.PutConnectorRequest(document=json.dumps(oidc(issuer="x")))
        refused = await call.refused("ConnectorService/PutConnector", bad)
        assert refused.status is StatusCode.INVALID_ARGUMENT
    assert [event["user_name"] for event in await world.events("connector.deleted")] == ["root"]
