# SPDX-License-Identifier: Apache-2.0
"""``grpc.health.v1``: is the server, or one of its services, serving."""

from __future__ import annotations

from collections.abc import Iterable

import trio

from mezite.api.pb.grpc.health.v1 import health_pb2
from mezite.api.rpc import CallContext, CallKind, RpcError, RpcMethod, StatusCode
from mezite.api.server_call import ResponseStream

__all__ = ["HealthService"]

Status = health_pb2.HealthCheckResponse.ServingStatus
_SERVICE = "/grpc.health.v1.Health/"


class HealthService:
    """What the health checks answer. The empty name stands for the server as a whole and is always known."""

    def __init__(self, services: Iterable[str] = ()) -> None:
        self._statuses: dict[str, int] = dict.fromkeys(
            ("", *services), health_pb2.HealthCheckResponse.SERVING
        )
        self._changed = trio.Event()

    def methods(self) -> list[RpcMethod]:
        """The methods to register.

        Public: balancers ask without a credential, and learn nothing but up or down.
        """
        check = RpcMethod(
            path=_SERVICE + "Check",
            request_type=health_pb2.HealthCheckRequest,
            response_type=health_pb2.HealthCheckResponse,
            handler=self._check,
            verb="health.check",
            resource="cluster",
            public=True,
        )
        watch = RpcMethod(
            path=_SERVICE + "Watch",
            request_type=health_pb2.HealthCheckRequest,
            response_type=health_pb2.HealthCheckResponse,
            kind=CallKind.SERVER_STREAM,
            handler=self._watch,
            verb="health.check",
            resource="cluster",
            public=True,
        )
        return [check, watch]

    def set_serving(self, serving: bool, service: str = "") -> None:
        """Change the answer, for all who watch too. Raises KeyError for a service that was not named."""
        status = (
            health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        )
        if self._statuses[service] != status:
            self._statuses[service] = status
            self._changed.set()
            self._changed = trio.Event()

    async def _check(
        self, request: health_pb2.HealthCheckRequest, _context: CallContext
    ) -> health_pb2.HealthCheckResponse:
        status = self._statuses.get(request.service)
        if status is None:
            raise RpcError(StatusCode.NOT_FOUND, "unknown service")
        return health_pb2.HealthCheckResponse(status=Status.Name(status))

    async def _watch(
        self, request: health_pb2.HealthCheckRequest, _context: CallContext, responses: ResponseStream
    ) -> None:
        last: int | None = None
        while True:
            changed = self._changed
            status = self._statuses.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != last:
                await responses.send(health_pb2.HealthCheckResponse(status=Status.Name(status)))
                last = status
            await changed.wait()
