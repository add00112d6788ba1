# SPDX-License-Identifier: Apache-2.0
"""The first start: from a join token to an identity.

The hub's CA is fetched over a connection that is trusted for nothing, held against the pin inside the token, and only
then used: the token itself travels on a second connection, to a hub that has proven to be the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import attrs

from mezite.agent.identity_store import AgentIdentityFiles, StoredIdentity
from mezite.api.client import RpcError
from mezite.api.dialing import GRPC_ALPN, ApiConnectError, connect_api, fetch_cluster_ca
from mezite.api.pb.mezite.v1 import enrollment_pb2
from mezite.api.signed_trust import check_pin, received_trust
from mezite.core.certificates.keys import (
    generate_ed25519,
    generate_p256,
    load_private_key,
    private_key_pem,
    public_key_pem,
)
from mezite.core.certificates.ssh import authorized_key_line, public_key_blob
from mezite.core.durations import format_duration
from mezite.core.errors import ExplainedError
from mezite.net.outbound import Outbound

__all__ = [
    "JoinError",
    "JoinParameters",
    "check_clock",
    "identity_of_response",
    "join",
    "make_keys",
    "public_keys",
]

_REGISTER = "/mezite.v1.EnrollmentService/RegisterAgent"

MAX_SKEW_SECONDS = 300
"""Certificates are backdated by five minutes (threat F6)."""


class JoinError(ExplainedError):
    """Joining failed: `what`, `why`, and a `hint` what to do."""


@attrs.frozen(kw_only=True)
class JoinParameters:
    """What joining needs to know."""

    auth_addr: str
    secret: str = attrs.field(repr=False)
    ca_pin: str
    node_name: str
    labels: Mapping[str, str]
    version: str
    now: Callable[[], int]
    """Wall clock, milliseconds since 1970."""
    outbound: Outbound = attrs.field(factory=Outbound)
    """The way out, and whose word is enough for the certificate of a balancer that ends TLS at `auth_addr`."""


def make_keys() -> AgentIdentityFiles:
    """Return fresh keys: P-256 for TLS, Ed25519 for SSH."""
    return AgentIdentityFiles(
        tls_key_pem=private_key_pem(generate_p256()), ssh_key_pem=private_key_pem(generate_ed25519())
    )


def public_keys(keys: AgentIdentityFiles) -> tuple[str, str]:
    """Return the public halves: PEM for TLS, an OpenSSH line for SSH."""
    tls = public_key_pem(load_private_key(keys.tls_key_pem).public_key()).decode()
    ssh = authorized_key_line(public_key_blob(load_private_key(keys.ssh_key_pem).public_key()))
    return tls, ssh


def check_clock(hub_time: int, own_time: int) -> None:
    """:raises JoinError: the clocks are more than five minutes apart; the message says by how much."""
    off = own_time - hub_time
    if abs(off) > MAX_SKEW_SECONDS * 1000:
        direction = "ahead of" if off > 0 else "behind"
        raise JoinError(
            "cannot join",
            f"this machine's clock is {format_duration(abs(off) // 1000)} {direction} the hub's, "
            "so certificates would not be valid",
            "set the clock (NTP) and start again",
        )


async def join(parameters: JoinParameters, keys: AgentIdentityFiles) -> StoredIdentity:
    """Use the token up and return the identity that the hub issued.

    :raises JoinError: the hub refused; the message is the hub's.
    :raises ApiConnectError: the pin does not match, or `auth_addr` is no gRPC port.
    :raises DialError: nobody answers at `auth_addr`.
    """
    outbound = parameters.outbound
    now = parameters.now() // 1000
    authority = await fetch_cluster_ca(parameters.auth_addr, parameters.ca_pin, outbound=outbound, now=now)
    check_clock(authority.server_time, parameters.now())
    tls_public_key, ssh_public_key = public_keys(keys)
    request = enrollment_pb2.RegisterAgentRequest(
        join_token=parameters.secret,
        node_name=parameters.node_name,
        labels=dict(parameters.labels),
        version=parameters.version,
        tls_public_key_pem=tls_public_key,
        ssh_public_key=ssh_public_key,
        agent_time_ms=parameters.now(),
    )
    # The hub itself, or a balancer whose certificate others vouch for; only now is the token shown to anybody.
    context = outbound.context(GRPC_ALPN, authority.bundle)
    try:
        async with connect_api(parameters.auth_addr, context, outbound=outbound) as client:
            issued = await client.unary(_REGISTER, request, enrollment_pb2.AgentIdentity)
    except RpcError as error:
        raise _refused(error) from error
    except ApiConnectError as error:
        raise _unverified(error) if "verify failed" in error.why else error from None
    # A balancer that ends TLS could have put another CA in.
    trust = received_trust(issued.trust)
    found = check_pin(issued.host_tls_ca_pem, trust, parameters.ca_pin, parameters.auth_addr, now=now)
    identity = identity_of_response(issued, parameters.ca_pin)
    return attrs.evolve(identity, host_tls_ca_pem=tuple(pem.decode() for pem in found))


def identity_of_response(issued: enrollment_pb2.AgentIdentity, ca_pin: str) -> StoredIdentity:
    """Return what is kept of the hub's answer."""
    return StoredIdentity(
        agent_id=issued.agent_id,
        cluster_name=issued.cluster_name,
        node_name=issued.node_name,
        host_ca_pin=ca_pin,
        tls_certificate_pem=issued.tls_certificate_pem,
        ssh_host_certificate=issued.ssh_host_certificate,
        host_tls_ca_pem=tuple(issued.host_tls_ca_pem),
        user_ssh_ca=tuple(issued.user_ssh_ca),
    )


def _refused(error: RpcError) -> JoinError:
    """Cut the hub's sentence `what: why; hint` into its parts."""
    text, _, hint = error.message.rpartition("; ")
    what, _, why = (text or error.message).partition(": ")
    return JoinError(f"the hub refused to let this agent join: {what}", why, hint if text else "")


def _unverified(error: ApiConnectError) -> ApiConnectError:
    return ApiConnectError(
        error.what,
        f"neither the cluster's CA nor the system's roots vouch for its certificate ({error.why})",
        "if a load balancer ends TLS there, set outer_ca_file (MEZITE_OUTER_CA_FILE) to the CA of its certificate",
    )
