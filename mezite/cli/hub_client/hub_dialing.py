# SPDX-License-Identifier: Apache-2.0
"""msh's way to the hub's SSH port, whatever stands in front of it.

The identity is proven by the inner TLS session alone: mutual, and by the cluster's CA. Whether it travels bare or
inside another session is found out: when what answers is not the hub, the same is tried once more inside an outer
session that somebody we believe vouches for; what worked is remembered. Trying that hides nothing: an outer session
only adds a layer, and who has neither the hub's key nor a good certificate for the name gets neither.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import time

import attrs
import trio

from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.wrong_doors import Answer, Door, client_advice, is_certain
from mezite.net.addresses import split_host_port
from mezite.net.dialer import DialError
from mezite.net.listener_probe import what_listens
from mezite.net.outbound import Outbound, OuterTlsError
from mezite.net.tls_contexts import mutual_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.net.tunnel_route import HTTPS_PORT, Carrier, TunnelRoute
from mezite.net.websocket_upgrade import UpgradeError

__all__ = ["ALPN", "CONNECT_SECONDS", "SYSTEM", "connect_hub", "front_outbound"]

SSH_PORT = 3023
ALPN = ("mezite-connect/1",)
CONNECT_SECONDS = 15

SYSTEM = b"system"
"""`Profile.front_roots` for a front that the system's roots vouch for."""


class _NotTheHubError(Exception):
    """What answers there is not the hub's own TLS; the message says what it is."""


def front_outbound(front_roots: bytes) -> Outbound:
    """Return the way out, believing whom the profile believes on a balancer's certificate."""
    return way_out() if front_roots.strip() in {b"", SYSTEM} else way_out(front_roots)


async def connect_hub(current: CurrentProfile, profile: Profile) -> TlsStream:
    """Return a stream to the hub that has proven to be it.

    When its CA is not the one of the profile, what that one has signed may lead to it; then the profile is brought up
    to date.

    :raises CliError: it cannot be reached, or is not the hub of the profile.
    :raises DialError: nobody answers there.
    """
    try:
        return await _connect(current, profile)
    except CliError as failure:
        if "verify failed" not in failure.why:
            raise
        renewed = await _with_newer_cas(current, profile)
        if renewed is None:
            raise
    return await _connect(current, renewed)


async def _with_newer_cas(current: CurrentProfile, profile: Profile) -> Profile | None:
    """The profile with the CAs that followed its own, which is written as well; None when nothing leads to any."""
    # Only on this way: the start of every `msh proxy ssh` would pay for it.
    from mezite.cli.hub_client.web_client import trust_by_continuation  # noqa: PLC0415

    try:
        found = await trust_by_continuation(current.proxy_addr, profile.ca_pem)
    except (CliError, DialError):
        return None
    if found.cluster != current.cluster:
        return None
    renewed = attrs.evolve(
        profile,
        ca_pem="".join(found.host_tls_ca_pem).encode(),
        known_hosts="".join(f"@cert-authority * {line}\n" for line in found.host_ssh_ca).encode(),
    )
    ProfileStore.from_environment(os.environ).remember_cas(current, renewed)
    return renewed


async def _connect(current: CurrentProfile, profile: Profile) -> TlsStream:
    if current.carrier == Carrier.WEBSOCKET.value:
        return await _over_websocket(current, profile)
    known, other = _carriers(current)
    try:
        return await _attempt(known, current, profile)
    except _NotTheHubError as failure:
        first = failure
    except DialError as error:
        hint = f"{error.hint}; where only HTTPS passes: msh login --proxy={current.proxy_addr} --websocket"
        raise DialError(error.what, error.why, hint) from error
    try:
        stream = await _attempt(other, current, profile)
    except _NotTheHubError as second:
        raise await _neither(current, profile, {known: first, other: second}) from None
    # It only saves the next connection a try: a home that cannot be written must not end this one.
    with contextlib.suppress(CliError):
        ProfileStore.from_environment(os.environ).remember_carrier(current, other.value)
    return stream


async def _over_websocket(current: CurrentProfile, profile: Profile) -> TlsStream:
    """Chosen at login, so nothing else is tried."""
    try:
        return await _attempt(Carrier.WEBSOCKET, current, profile)
    except _NotTheHubError as failure:
        raise CliError(
            f"cannot connect to the hub at {current.proxy_addr} in a WebSocket",
            str(failure),
            f"does a balancer in front pass on WebSockets? without one: msh login --proxy={current.proxy_addr}",
        ) from None


def _carriers(current: CurrentProfile) -> tuple[Carrier, Carrier]:
    if current.carrier == Carrier.TLS.value:
        return Carrier.TLS, Carrier.TCP
    return Carrier.TCP, Carrier.TLS


async def _attempt(carrier: Carrier, current: CurrentProfile, profile: Profile) -> TlsStream:
    outbound = front_outbound(profile.front_roots)
    if carrier is Carrier.WEBSOCKET:
        address, port = current.proxy_addr, HTTPS_PORT
    else:
        address, port = current.ssh_addr or current.host, SSH_PORT
    route = TunnelRoute(address=address, default_port=port, carrier=carrier, outbound=outbound)
    context = _context(profile)
    try:
        transport = await route.open([profile.ca_pem], deadline_seconds=CONNECT_SECONDS)
    except (OuterTlsError, UpgradeError) as error:
        raise _NotTheHubError(error.reason) from None
    stream = TlsStream(transport, context, server_side=False, server_hostname=None)
    try:
        with trio.fail_after(CONNECT_SECONDS):
            await stream.do_handshake()
        _check_hub(stream, current, profile)
    except TlsError as error:
        raise _NotTheHubError(error.reason) from None
    except (CliError, _NotTheHubError):
        await trio.aclose_forcefully(stream)
        raise
    except trio.TooSlowError:
        raise CliError(
            f"the hub at {route.address} does not answer within {CONNECT_SECONDS} s",
            "",
            "try again" if carrier is Carrier.WEBSOCKET else "is this its SSH port (3023)?",
        ) from None
    return stream


def _context(profile: Profile) -> ssl.SSLContext:
    try:
        return mutual_client_context([profile.ca_pem], profile.tls_certificate, profile.tls_key, ALPN)
    except (ValueError, ssl.SSLError) as error:
        raise CliError("your certificate cannot be used", str(error), "run msh login again") from None


def _check_hub(stream: TlsStream, current: CurrentProfile, profile: Profile) -> None:
    certificate = stream.peer_certificate()
    if stream.alpn != ALPN[0] or certificate is None:
        raise _NotTheHubError(f"it does not offer {ALPN[0]}")
    try:
        verify_x509(
            certificate,
            ca_certs=load_certificates(profile.ca_pem),
            cluster=current.cluster,
            kind=PeerKind.HUB,
            now=time.time_ns() // 1_000_000_000,
        )
    except CertificateRefused as refused:
        raise CliError(f"cannot trust the hub at {current.ssh_addr}", refused.message) from None


async def _neither(
    current: CurrentProfile, profile: Profile, failures: dict[Carrier, _NotTheHubError]
) -> CliError:
    bare, wrapped = str(failures[Carrier.TCP]), str(failures[Carrier.TLS])
    address = current.ssh_addr or current.host
    try:
        found = await what_listens(address, SSH_PORT, outbound=front_outbound(profile.front_roots))
    except DialError:
        found = Answer.SILENT
    if is_certain(Door.SSH, found):
        _host, port = split_host_port(address, SSH_PORT)
        return CliError(
            f"{address} is not a hub's SSH port",
            client_advice(Door.SSH, found, setting="the profile", port=port).why,
            f"check the hub's addresses and log in again: msh login --proxy={current.proxy_addr}",
        )
    return CliError(
        f"cannot connect to the hub at {address}",
        f"{bare}; and as a load balancer that ends TLS: {wrapped}",
        f"if the hub's CA has changed, run msh login --proxy={current.proxy_addr} --ca-pin=PIN; "
        "if a load balancer is in front, give its CA with --ca-file",
    )
