# SPDX-License-Identifier: Apache-2.0
"""The steps behind a TCP connection to the gRPC port, for doctors."""

from __future__ import annotations

import ssl

import attrs
import trio

from mezite.api.client import ClientOptions, RpcError, StatusCode, open_api_client
from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.api.signed_trust import ApiConnectError, check_pin, received_trust
from mezite.core.diagnosis import StepFailedError
from mezite.core.wrong_doors import grpc_balancer_hint
from mezite.net.diagnosis_walk import Probe, nothing_to_do
from mezite.net.hop import Hop, describe_session, wrong_door

__all__ = ["GrpcHop", "clock_offset", "failed_call"]

_SERVICE = "/mezite.v1.AuthService/"

MAX_SKEW_SECONDS = 300
"""Certificates are backdated by five minutes (threat F6)."""


@attrs.define(eq=False, kw_only=True)
class GrpcHop:
    """The gRPC API as seen from here; nothing it says is trusted unless ``context`` or ``ca_pin`` proves it."""

    hop: Hop
    context: ssl.SSLContext | None
    """None for h2c."""
    ca_pin: str | None = None
    """64 hex digits that the Host CA must have."""
    trust_hint: str = ""
    """What to do about a certificate that is not trusted."""
    server_time: int | None = None
    """The hub's clock in milliseconds since 1970, once it has answered."""

    @property
    def steps(self) -> tuple[tuple[str, Probe], ...]:
        """The whole way, for a walk; the caller closes the hop behind it."""
        return (
            ("gRPC: DNS", self.hop.look_up),
            ("gRPC: TCP", self.hop.connect),
            ("gRPC: TLS", self.secure),
            ("gRPC: call", self.ask),
        )

    async def secure(self) -> str:
        """TLS with HTTP/2 in it."""
        if self.context is None:
            raise nothing_to_do("--plaintext")
        host, _port = self.hop.host_port
        stream = await self.hop.secure(self.context, server_hostname=host, hint=self.trust_hint)
        if stream.alpn != "h2":
            raise await wrong_door(self.hop, "no HTTP/2 is offered")
        return describe_session(stream)

    async def ask(self) -> str:
        """A call that needs no credential: which cluster is this, and what time is it there?"""
        transport = self.hop.transport
        assert transport is not None, "connect() comes first"
        self.hop.transport = None
        scheme = "http" if self.context is None else "https"
        options = ClientOptions(authority=self.hop.address, scheme=scheme)
        try:
            async with open_api_client(transport, options) as client:
                answer = await client.unary(
                    f"{_SERVICE}GetClusterCa", auth_pb2.GetClusterCaRequest(), auth_pb2.GetClusterCaResponse
                )
        except RpcError as error:
            raise failed_call(error, self.hop.setting) from error
        except trio.BrokenResourceError as error:
            raise await wrong_door(self.hop, str(error)) from error
        self.server_time = answer.server_time_ms
        if self.ca_pin is not None:
            trust = received_trust(answer.trust)
            try:
                check_pin(answer.host_tls_ca_pem, trust, self.ca_pin, self.hop.address)
            except ApiConnectError as error:
                raise StepFailedError(error.why, error.hint) from None
        return f"cluster {answer.cluster_name}" + (
            "" if self.ca_pin is None else ", the CA is the pinned one"
        )


def failed_call(error: RpcError, setting: str) -> StepFailedError:
    """Return a call's failure with what to do about it."""
    if "HTTP status" in error.message:
        return StepFailedError(error.message, grpc_balancer_hint(setting))
    if error.status is StatusCode.UNAVAILABLE:
        return StepFailedError(error.message, grpc_balancer_hint(setting))
    return StepFailedError(
        error.message or error.status.name.lower(), "look into the hub's log for the reason"
    )


def clock_offset(own_ms: int, other_ms: int, whose: str = "the hub's") -> str:
    """Return how far this machine's clock is from another, in words.

    Raises :exc:`StepFailedError` when it is more than five minutes.
    """
    off = (own_ms - other_ms) / 1000
    words = f"{abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} {whose}"
    if abs(off) > MAX_SKEW_SECONDS:
        raise StepFailedError(
            f"this machine's clock is {words}, so certificates are not valid",
            "set the clock (NTP) on the machine that is wrong",
        )
    return words
