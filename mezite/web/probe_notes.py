# SPDX-License-Identifier: Apache-2.0
"""Noticing the hub's own probes among web requests."""

from __future__ import annotations

import attrs

from mezite.net.addresses import join_host_port
from mezite.net.asgi_types import ASGIApp, Receive, Scope, Send
from mezite.services.self_probes import PROBE_HEADER, SelfProbes, Sighting

__all__ = ["ProbeNotes"]

_FIELD = PROBE_HEADER.encode()


@attrs.frozen(kw_only=True)
class ProbeNotes:
    """An application whose requests are looked through for probes; they are served like all others."""

    app: ASGIApp
    probes: SelfProbes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        for name, value in scope.get("headers", ()):
            if name == _FIELD and scope.get("client") is not None:
                host, port = scope["client"]
                self.probes.note(value.decode("ascii", "replace"), Sighting(join_host_port(host, port)))
        await self.app(scope, receive, send)
