# SPDX-License-Identifier: Apache-2.0
"""Reaching a hub's gRPC port from outside, and finding out whether it is the right hub."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio

from mezite.api.client import ApiClient, ClientOptions, RpcError, open_api_client
from mezite.api.pb.mezite.v1 import auth_pb2
from mezite.api.signed_trust import ApiConnectError, check_pin, received_trust
from mezite.net.addresses import split_host_port
from mezite.net.outbound import Outbound
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream

__all__ = [
    "AUTH_PORT",
    "GRPC_ALPN",
    "ApiConnectError",
    "ClusterCa",
    "connect_api",
    "fetch_cluster_ca",
]

AUTH_PORT = 3025
GRPC_ALPN = ("h2",)

CONNECT_SECONDS = 15
"""For look-up, TCP and TLS together; Ansible gives a connection ten seconds, people not much more."""


@attrs.frozen(kw_only=True)
class ClusterCa:
    """The CA of a cluster that was held against a pin."""

    cluster_name: str
    bundle: tuple[bytes, ...]
    """PEM, each ending in a newline."""
    server_time: int
    """The hub's clock, milliseconds since 1970. Not authenticated: good for messages only."""


@asynccontextmanager
async def connect_api(
    address: str,
    context: ssl.SSLContext | None,
    *,
    token: str | None = None,
    outbound: Outbound | None = None,
) -> AsyncIterator[ApiClient]:
    """Open a client to the gRPC port at `address` (default port 3025); `context` None means h2c.

    `outbound` None is the direct way there.

    :raises DialError: nobody answers there.
    :raises ApiConnectError: TLS fails, or it is no gRPC port.
    """
    host, _port = split_host_port(address, AUTH_PORT)
    way_out = outbound or Outbound()
    stream: trio.abc.Stream = await way_out.dial(address, AUTH_PORT, deadline_seconds=CONNECT_SECONDS)
    if context is not None:
        stream = await _handshake(stream, context, address, host)
    scheme = "http" if context is None else "https"
    async with open_api_client(
        stream, ClientOptions(authority=address, scheme=scheme, token=token)
    ) as client:
        yield client


async def _handshake(
    transport: trio.abc.Stream, context: ssl.SSLContext, address: str, host: str
) -> TlsStream:
    stream = TlsStream(transport, context, server_side=False, server_hostname=host)
    try:
        with trio.fail_after(CONNECT_SECONDS):
            await stream.do_handshake()
    except TlsError as error:
        raise ApiConnectError(
            f"cannot talk to the gRPC port at {address}", error.reason, _hint(error)
        ) from error
    except trio.TooSlowError:
        raise ApiConnectError(
            f"cannot talk to the gRPC port at {address}",
            f"no TLS handshake within {CONNECT_SECONDS} s",
            "check that this is the hub's gRPC port (default 3025)",
        ) from None
    if stream.alpn != "h2":
        await trio.aclose_forcefully(stream)
        raise ApiConnectError(
            f"{address} is not a gRPC port",
            "it does not offer HTTP/2",
            "use the hub's gRPC address (default port 3025), or let the balancer offer HTTP/2 there",
        )
    return stream


def _hint(error: TlsError) -> str:
    if "verify failed" in error.reason:
        return "give --ca-pin with what `mezhub ca-pin` prints on the hub, or --ca-file"
    return "check that this is the hub's gRPC port (default 3025) and speaks TLS"


async def fetch_cluster_ca(
    address: str, pin: str, *, outbound: Outbound | None = None, now: int | None = None
) -> ClusterCa:
    """Return the CA bundle of the cluster at `address`, held against `pin` (64 hex digits).

    The connection is trusted for nothing: the bundle is public, and only the pin makes it ours. It may be that of an
    older CA, whose signatures lead to the present ones. `now` as in `check_pin`.

    :raises ApiConnectError: the pin does not match, or it is no gRPC port.
    :raises DialError: nobody answers there.
    """
    async with connect_api(address, unverified_client_context(GRPC_ALPN), outbound=outbound) as client:
        try:
            answer = await client.unary(
                "/mezite.v1.AuthService/GetClusterCa",
                auth_pb2.GetClusterCaRequest(),
                auth_pb2.GetClusterCaResponse,
            )
        except RpcError as error:
            raise ApiConnectError(
                f"the gRPC port at {address} does not answer", error.message, "is a mezite hub behind it?"
            ) from error
    bundle = check_pin(answer.host_tls_ca_pem, received_trust(answer.trust), pin, address, now=now)
    return ClusterCa(cluster_name=answer.cluster_name, bundle=bundle, server_time=answer.server_time_ms)
