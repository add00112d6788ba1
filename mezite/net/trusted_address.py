# SPDX-License-Identifier: Apache-2.0
"""The real client's address for an ASGI application behind HTTP balancers."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network, ip_address

import attrs

from mezite.core.client_address import real_client

from .asgi_types import ASGIApp, Receive, Scope, Send

__all__ = ["TrustedAddress"]


@attrs.frozen(kw_only=True)
class TrustedAddress:
    """An application that sees, as the client, whom the trusted balancers' header names.

    The header is read here and nowhere else; from any other peer it means nothing (threat D7).
    """

    app: ASGIApp
    header: str
    """``X-Forwarded-For`` or whatever the balancers write, in any case."""
    trusted: Collection[IPv4Network | IPv6Network]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if "headers" in scope and scope.get("client") is not None:
            scope = {**scope, "client": self._client(scope)}
        await self.app(scope, receive, send)

    def _client(self, scope: Scope) -> tuple[str, int]:
        host, port = scope["client"]
        try:
            peer = ip_address(host)
        except ValueError:
            return host, port
        name = self.header.lower().encode("ascii")
        client = real_client(peer, [value for key, value in scope["headers"] if key == name], self.trusted)
        # The header says nothing about the client's port, and the balancer's own would be misleading.
        return (host, port) if client == peer else (str(client), 0)
