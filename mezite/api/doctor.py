# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.DoctorService`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs

from mezite.api.pb.mezite.v1 import doctor_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary
from mezite.core.diagnosis import Finding
from mezite.services.errors import ConflictError, InvalidRequestError

__all__ = ["MAX_IDLE_SECONDS", "DoctorApi", "LoadBalancerReport"]

_SERVICE = "/mezite.v1.DoctorService/"

DEFAULT_IDLE_SECONDS = 3
MAX_IDLE_SECONDS = 50
"""The hub itself ends an API connection that is idle for a minute: what lasts so long is not the balancer's doing."""


@attrs.frozen(kw_only=True)
class LoadBalancerReport:
    """What the self-test found."""

    findings: Sequence[Finding]
    nginx: str
    haproxy: str


RunTest = Callable[[int], Awaitable[LoadBalancerReport]]
"""Runs the self-test, leaving connections idle for so many seconds."""


@attrs.define(eq=False)
class DoctorApi:
    """The RPCs of one service."""

    run: RunTest
    apps: Callable[[], Awaitable[Sequence[Finding]]]
    """Examines all applications."""
    _running: bool = False

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        method = unary(_SERVICE + "TestLoadBalancer", pb.TestLoadBalancerRequest, pb.TestLoadBalancerResponse)
        examine = unary(
            _SERVICE + "ExamineApplications", pb.ExamineApplicationsRequest, pb.ExamineApplicationsResponse
        )
        return [
            method(self.probe, "cluster.doctor", "cluster"),
            examine(self.examine_apps, "cluster.doctor", "cluster"),
        ]

    async def probe(
        self, request: pb.TestLoadBalancerRequest, _context: CallContext
    ) -> pb.TestLoadBalancerResponse:
        """Connect to the hub's own public addresses; one test at a time, since each opens connections by the dozen."""
        idle = request.idle_seconds or DEFAULT_IDLE_SECONDS
        if not 0 < idle <= MAX_IDLE_SECONDS:
            raise InvalidRequestError(f"idle_seconds: {idle} is not from 1 to {MAX_IDLE_SECONDS}")
        if self._running:
            raise ConflictError("a self-test is running: wait for its end")
        self._running = True
        try:
            report = await self.run(idle)
        finally:
            self._running = False
        steps = [_message(finding) for finding in report.findings]
        return pb.TestLoadBalancerResponse(steps=steps, nginx=report.nginx, haproxy=report.haproxy)

    async def examine_apps(
        self, _request: pb.ExamineApplicationsRequest, _context: CallContext
    ) -> pb.ExamineApplicationsResponse:
        """What is wrong with applications; nothing is dialed for it."""
        return pb.ExamineApplicationsResponse(steps=[_message(finding) for finding in await self.apps()])


def _message(finding: Finding) -> pb.DoctorStep:
    return pb.DoctorStep(
        step=finding.step,
        outcome=finding.outcome.value,
        milliseconds=finding.milliseconds or 0.0,
        detail=finding.detail,
        remedy=finding.remedy,
    )
