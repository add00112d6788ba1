# SPDX-License-Identifier: Apache-2.0
"""The hub knocks at its own public addresses and reports what survives on the way.

How it knows its own probes again is in :mod:`mezite.services.self_probes`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack

import attrs
import trio

from mezite.api.client import ClientOptions, RpcError, open_api_client
from mezite.api.doctor import LoadBalancerReport
from mezite.api.grpc_hop import failed_call
from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.core import alpn
from mezite.core.diagnosis import StepFailedError
from mezite.core.wrong_doors import Door, grpc_balancer_hint
from mezite.hub.balancer_snippets import Front, haproxy_snippet, nginx_snippet
from mezite.hub.probe_line import Line
from mezite.hub.web_probes import WebProbes
from mezite.net.diagnosis_walk import Probe, Walk, nothing_to_do
from mezite.net.hop import Hop, describe_session
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.services.self_probes import PROBE_HEADER, SelfProbes, probe_protocol

__all__ = ["BalancerProbe", "run_balancer_probe"]

_DOORS = {"web": Door.WEB, "ssh": Door.SSH, "tunnel": Door.TUNNEL, "auth": Door.GRPC}
_PROTOCOLS = {
    "web": (alpn.HTTP1,),
    "ssh": (alpn.USER_TUNNEL,),
    "tunnel": (alpn.AGENT_TUNNEL,),
    "auth": (alpn.HTTP2,),
}


@attrs.frozen(kw_only=True)
class BalancerProbe:
    """What a test needs to know."""

    public: Mapping[str, str]
    """What clients dial, by listener."""
    hub: Mapping[str, str]
    """Where the hub itself listens, by listener."""
    is_own_certificate: Callable[[bytes], bool]
    """Whether a certificate (DER) is one that this cluster's hubs show."""
    probes: SelfProbes
    idle_seconds: int
    inside_the_hub: bool = True
    """False in a command beside the hub: what the hub sees is not seen then."""


async def run_balancer_probe(test: BalancerProbe) -> LoadBalancerReport:
    """Walk every port; takes the idle time twice and a few seconds. Cancelling closes all connections."""
    walk = Walk(step_seconds=15 + test.idle_seconds)
    ends_tls = False
    for name, door in _DOORS.items():
        if name not in test.public:
            continue
        with ExitStack() as expected:
            line = Line(
                hop=Hop(test.public[name], door, "proxy.public_addr"),
                protocols=_PROTOCOLS[name],
                probes=test.probes,
                hello=expected.enter_context(test.probes.expect()),
                inside=expected.enter_context(test.probes.expect()),
                is_own_certificate=test.is_own_certificate,
                inside_the_hub=test.inside_the_hub,
            )
            await _walk_port(walk, name, line, test.idle_seconds)
        ends_tls = ends_tls or line.ended_by_hub is False
    # The other listeners are nobody's business outside.
    public = {name: address for name, address in test.public.items() if name in _DOORS}
    front = Front(public=public, hub=test.hub, ends_tls=ends_tls)
    return LoadBalancerReport(
        findings=walk.findings, nginx=nginx_snippet(front), haproxy=haproxy_snippet(front)
    )


async def _walk_port(walk: Walk, name: str, line: Line, idle_seconds: int) -> None:
    web = WebProbes(line, idle_seconds)
    behind: Sequence[tuple[str, Probe]]
    if name == "web":
        behind = web.steps()
    elif name == "auth":
        behind = _GrpcProbes(line, idle_seconds).steps()
    else:
        behind = _TunnelProbes(name, line).steps()
    first, *others = behind
    try:
        reached = await walk.chain(
            (f"{name}: DNS", line.hop.look_up),
            (f"{name}: TCP", line.connect),
            (f"{name}: TLS", line.secure),
            first,
        )
        for step, step_probe in others:
            # Each on a connection of its own: one that fails says nothing about the next.
            if reached:
                await walk.step(step, step_probe)
            else:
                walk.skip(step, "not tried: the hub is not reached")
    finally:
        with trio.CancelScope(shield=True):
            await web.aclose()
            await line.hop.aclose()


@attrs.define(eq=False)
class _TunnelProbes:
    """The steps behind the outer TLS session of the SSH and tunnel ports: the inner one is the hub's own."""

    name: str
    line: Line

    def steps(self) -> Sequence[tuple[str, Probe]]:
        return (
            (f"{self.name}: inner TLS", self.shake_hands),
            (f"{self.name}: client address", self.line.judge_address),
        )

    async def shake_hands(self) -> str:
        """The session that agents and msh hold with the hub, where another one is around it."""
        if self.line.ended_by_hub:
            raise nothing_to_do("the outer session is the hub's own")
        offered = (*self.line.protocols, probe_protocol(self.line.inside))
        stream = TlsStream(self.line.take(), unverified_client_context(offered), server_side=False)
        self.line.hop.transport = stream
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            reason = error.reason if isinstance(error, TlsError) else "the connection was cut"
            raise StepFailedError(
                f"the hub is not reached inside of the balancer's TLS: {reason}",
                f"let the load balancer forward it as plain TCP to the hub's {self.name} port "
                f"({self.line.hop.door.port})",
            ) from error
        certificate = stream.peer_certificate()
        if certificate is None or not self.line.is_own_certificate(certificate):
            raise StepFailedError(
                f"what is inside is not this hub: {describe_session(stream)}",
                f"let the load balancer forward it to the hub's {self.name} port ({self.line.hop.door.port})",
            )
        return describe_session(stream)


@attrs.define(eq=False)
class _GrpcProbes:
    """The steps behind TLS on the gRPC port."""

    line: Line
    idle_seconds: int

    def steps(self) -> Sequence[tuple[str, Probe]]:
        return (
            ("auth: HTTP/2 call", self.call),
            ("auth: client address", self.line.judge_address),
            ("auth: idle", self.stay_idle),
        )

    async def call(self) -> str:
        """Whether a call reaches a hub."""
        return await self._call_after(0)

    async def stay_idle(self) -> str:
        """Whether a connection bears silence between two calls."""
        self.line.hop.transport = await self.line.open()
        await self._call_after(self.idle_seconds)
        return f"{self.idle_seconds} s between two calls are borne"

    async def _call_after(self, idle: int) -> str:
        stream = self.line.take()
        if isinstance(stream, TlsStream) and stream.alpn != alpn.HTTP2:
            await trio.aclose_forcefully(stream)
            raise StepFailedError("no HTTP/2 is offered by ALPN", grpc_balancer_hint("the balancer's port"))
        try:
            async with open_api_client(stream, ClientOptions(authority=self.line.hop.address)) as client:
                answer = auth_pb2.PingResponse()
                for wait in (0, idle) if idle else (0,):
                    await trio.sleep(wait)
                    answer = await client.unary(
                        "/mezite.v1.AuthService/Ping",
                        auth_pb2.PingRequest(),
                        auth_pb2.PingResponse,
                        metadata=[(PROBE_HEADER, self.line.inside)],
                    )
        except RpcError as error:
            raise failed_call(error, "the balancer's port") from error
        return f"cluster {answer.cluster_name}"
