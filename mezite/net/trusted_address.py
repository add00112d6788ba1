# SPDX-License-Identifier: Apache-2.0
"""The real client's address behind balancers that speak HTTP: for an ASGI application, and for gRPC calls."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_address

import attrs

from mezite.core.client_address import real_client

from .addresses import join_host_port, split_host_port
from .asgi_types import ASGIApp, Receive, Scope, Send

__all__ = ["TrustedAddress", "TrustedHeader"]


def _field_name(text: str) -> bytes:
    return text.lower().encode("ascii")


@attrs.frozen(kw_only=True)
class TrustedHeader:
    """A header that names the client, and from whom it is believed (threat D7)."""

    name: bytes = attrs.field(converter=_field_name)
    """Made from text in any case: ``X-Forwarded-For`` or whatever the balancers write."""
    trusted: Collection[IPv4Network | IPv6Network]

    def client(self, host: str, port: int, fields: Iterable[tuple[bytes, bytes]]) -> tuple[str, int]:
        """Return the client of a request from `host` with these fields (names in lower case)."""
        try:
            peer = ip_address(host)
        except ValueError:
            return host, port
        client = real_client(peer, [value for name, value in fields if name == self.name], self.trusted)
        # The header says nothing about the client's port, and the balancer's own would be misleading.
        return (host, port) if client == peer else (str(client), 0)

    def client_address(self, address: str, fields: Iterable[tuple[bytes, bytes]]) -> str:
        """As `client`, for and with `host:port`; what is no such address stays as it is."""
        try:
            host, port = split_host_port(address, 0)
        except ValueError:
            return address
        client = self.client(host, port, fields)
        return address if client == (host, port) else join_host_port(*client)


@attrs.frozen(kw_only=True)
class TrustedAddress:
    """An application that sees, as the client, whom the trusted balancers' header names."""

    app: ASGIApp
    header: TrustedHeader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if "headers" in scope and scope.get("client") is not None:
            scope = {**scope, "client": self._client(scope)}
        await self.app(scope, receive, send)

    def _client(self, scope: Scope) -> tuple[str, int]:
        host, port = scope["client"]
        return self.header.client(host, port, scope["headers"])
