# SPDX-License-Identifier: Apache-2.0
"""What anybody may know of the cluster."""

from __future__ import annotations

from typing import Any

import attrs
import quart

from mezite import __version__
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.key_export import app_jwks
from mezite.services.authorities.keys import JWKS_MAX_AGE_S
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.services.sso.connectors import ConnectorCatalog
from mezite.web.route_table import RouteTable

__all__ = ["ClusterRoutes"]

JWKS_PATH = "/workload-identity/app-jwt-jwks.json"


@attrs.frozen(kw_only=True)
class ClusterRoutes:
    """`ping`, the CA bundle and the keys of assertions."""

    authorities: CertificateAuthorities
    sources: Sources
    addresses: PublicAddresses
    connectors: ConnectorCatalog

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        table.public("GET", "/v1/webapi/ping", self._ping, "cluster.ping", "cluster")
        table.public("GET", "/v1/webapi/ca", self._ca, "cluster.ca", "cluster")
        table.answering("GET", JWKS_PATH, self._jwks, "cluster.jwks", "cluster")

    async def _ping(self) -> dict[str, Any]:
        connectors = [known.connector for known in await self.connectors.list_connectors()]
        return {
            "cluster_name": self.authorities.cluster,
            "version": __version__,
            "server_time_ms": self.sources.now(),
            "addresses": self.addresses.advertised(),
            "host_ca_pin": f"sha256:{self.authorities.host_pin}",
            "connectors": [
                {"name": each.name, "kind": each.kind.value, "display_name": each.title}
                for each in connectors
            ],
            "capabilities": {"tunnel_websocket": True},
        }

    async def _ca(self) -> dict[str, Any]:
        lists = [
            {"document": one.document, "signatures": dict(one.signatures)}
            for one in self.authorities.signed_trust()
        ]
        return {"host_tls_ca_pem": self.authorities.host_tls_ca_pem, "trust": lists}

    async def _jwks(self) -> quart.Response:
        """The keys of assertions: public, and the same for everybody, so that copies may be kept (contract, 5).

        The next key is in it six weeks ahead, so that an hour is much less than anybody has to notice it.
        """
        response = quart.jsonify(app_jwks(self.authorities))
        response.headers["cache-control"] = f"public, max-age={JWKS_MAX_AGE_S}"
        await response.add_etag()
        conditional: quart.Response = await response.make_conditional(quart.request)
        return conditional
