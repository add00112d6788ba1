# SPDX-License-Identifier: Apache-2.0
"""`/healthz`, `/readyz` and `/metrics` on the diagnostics listener, which is bound to loopback by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.storage.database import Database
from mezite.storage.errors import StorageError

__all__ = ["create_diagnostics"]

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class _HubCollector(Collector):
    def __init__(self, tunnels: TunnelRegistry) -> None:
        self._tunnels = tunnels

    def collect(self) -> list[GaugeMetricFamily]:
        live = self._tunnels.statistics().tunnels
        return [GaugeMetricFamily("mezite_tunnels", "Agents connected to this hub.", value=live)]


def create_diagnostics(
    database: Database, tunnels: TunnelRegistry
) -> Callable[[Mapping[str, Any], Receive, Send], Awaitable[None]]:
    """Return the ASGI application. It tells numbers and states, no names."""
    metrics = CollectorRegistry(auto_describe=False)
    metrics.register(_HubCollector(tunnels))

    async def app(scope: Mapping[str, Any], _receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path == "/healthz":
            await _answer(send, 200, b"ok\n")
        elif path == "/readyz":
            try:
                await database.check()
            except StorageError as error:
                await _answer(send, 503, f"database: {error}\n".encode())
            else:
                await _answer(send, 200, b"ready\n")
        elif path == "/metrics":
            await _answer(send, 200, generate_latest(metrics))
        else:
            await _answer(send, 404, b"there are /healthz, /readyz and /metrics\n")

    return app


async def _answer(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
