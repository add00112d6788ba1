# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.ConnectorService`."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mezite.api.pb.mezite.v1 import connectors_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.sso.connector_trial import ConnectorTrial
from mezite.services.sso.connectors import ConnectorCatalog, KnownConnector

__all__ = ["ConnectorsApi"]

_SERVICE = "/mezite.v1.ConnectorService/"


@attrs.frozen(kw_only=True)
class ConnectorsApi:
    """The RPCs of one service."""

    catalog: ConnectorCatalog
    trial: ConnectorTrial
    web_url: Callable[[], str]
    """Where browsers reach this hub."""

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        put = unary(_SERVICE + "PutConnector", pb.PutConnectorRequest, pb.PutConnectorResponse)
        listing = unary(_SERVICE + "ListConnectors", pb.ListConnectorsRequest, pb.ListConnectorsResponse)
        get = unary(_SERVICE + "GetConnector", pb.GetConnectorRequest, pb.Connector)
        delete = unary(_SERVICE + "DeleteConnector", pb.DeleteConnectorRequest, pb.DeleteConnectorResponse)
        test = unary(_SERVICE + "TestConnector", pb.TestConnectorRequest, pb.TestConnectorResponse)
        return [
            put(self.put, "connectors.put", "connector"),
            listing(self.list_connectors, "connectors.list", "connector"),
            get(self.get, "connectors.get", "connector"),
            delete(self.delete, "connectors.delete", "connector"),
            test(self.test, "connectors.test", "connector"),
        ]

    async def put(self, request: pb.PutConnectorRequest, context: CallContext) -> pb.PutConnectorResponse:
        """Create or replace a connector."""
        known, created = await self.catalog.put(
            request.document, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.PutConnectorResponse(connector=self._message(known), created=created)

    async def list_connectors(
        self, _request: pb.ListConnectorsRequest, _context: CallContext
    ) -> pb.ListConnectorsResponse:
        """All connectors."""
        known = await self.catalog.list_connectors()
        return pb.ListConnectorsResponse(connectors=[self._message(each) for each in known])

    async def get(self, request: pb.GetConnectorRequest, _context: CallContext) -> pb.Connector:
        """One connector."""
        return self._message(await self.catalog.get(request.name))

    async def delete(
        self, request: pb.DeleteConnectorRequest, context: CallContext
    ) -> pb.DeleteConnectorResponse:
        """Delete a connector."""
        await self.catalog.delete(
            request.name, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.DeleteConnectorResponse()

    async def test(self, request: pb.TestConnectorRequest, _context: CallContext) -> pb.TestConnectorResponse:
        """Walk the way of a login up to the point where a person would be asked."""
        outcome = await self.trial.try_out(request.name, request.claims)
        mapped = outcome.mapped
        return pb.TestConnectorResponse(
            steps=[
                pb.ConnectorTestStep(name=step.name, passed=step.passed, detail=step.detail)
                for step in outcome.steps
            ],
            authorization_url=outcome.authorization_url,
            user="" if mapped is None else mapped.name,
            roles=() if mapped is None else mapped.roles,
            traits={}
            if mapped is None
            else {name: pb.ClaimValues(values=values) for name, values in mapped.traits.items()},
        )

    def _message(self, known: KnownConnector) -> pb.Connector:
        return pb.Connector(
            name=known.connector.name,
            document=known.document,
            has_secret=known.has_secret,
            created_at_ms=known.created_at,
            updated_at_ms=known.updated_at,
            callback_urls=[known.connector.redirect_url(self.web_url())],
        )
