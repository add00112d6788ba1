# SPDX-License-Identifier: Apache-2.0
"""A machine's way to its certificates: with a token the first time, then with the last ones."""

from __future__ import annotations

import time

import attrs

from mezite.api.client import RpcError
from mezite.api.dialing import GRPC_ALPN, connect_api, fetch_cluster_ca
from mezite.api.pb.mezite.v1 import identities_pb2 as pb
from mezite.api.signed_trust import check_pin, received_trust
from mezite.cli.hub_client.hub_connection import failure_of
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, as_reached
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.mezd.machine_home import MachineHome
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.keys import (
    generate_ed25519,
    generate_p256,
    load_private_key,
    private_key_pem,
    public_key_pem,
)
from mezite.core.certificates.openssh_key import openssh_private_key, public_line_of_private_key
from mezite.core.join_token import JoinToken
from mezite.net.addresses import host_of
from mezite.net.outbound import Outbound

__all__ = ["FirstStart", "begin", "renew"]

_SERVICE = "/mezite.v1.MachineIdentityService/"


@attrs.frozen(kw_only=True)
class FirstStart:
    """What the first start needs to know."""

    auth_server: str
    """`HOST[:PORT]` of the hub's gRPC port."""
    token: JoinToken
    outbound: Outbound
    front_roots: bytes = b""
    """PEM: who vouches for a balancer that ends TLS; kept with the identity."""


async def begin(home: MachineHome, first: FirstStart) -> None:
    """Use the token up and write the identity that the hub issues.

    The token is shown only to a hub that has proven to have the CA of the pin.

    :raises CliError: the hub refuses; the text is the hub's. :raises ApiConnectError: it is not the hub of the pin.
    :raises DialError: nobody answers there.
    """
    address, outbound, pin = first.auth_server, first.outbound, first.token.ca_pin
    authority = await fetch_cluster_ca(address, pin, outbound=outbound)
    tls_key = private_key_pem(generate_p256())
    ssh_key = openssh_private_key(generate_ed25519())
    request = pb.BootstrapIdentityRequest(token=first.token.secret, keys=_keys(tls_key, ssh_key))
    try:
        async with connect_api(
            address, outbound.context(GRPC_ALPN, authority.bundle), outbound=outbound
        ) as hub:
            issued = await hub.unary(_SERVICE + "BootstrapIdentity", request, pb.MachineCertificates)
    except RpcError as error:
        raise failure_of(error) from None
    # A balancer that ends TLS could have put another CA in.
    found = check_pin(issued.host_tls_ca_pem, received_trust(issued.trust), pin, address)
    host = host_of(address)
    current = CurrentProfile(
        host=host,
        user=issued.name,
        cluster=issued.cluster_name,
        proxy_addr=as_reached(issued.web_addr, host),
        auth_addr=as_reached(issued.auth_addr, host),
        ssh_addr=as_reached(issued.ssh_addr, host),
    )
    profile = _profile(issued, tls_key, ssh_key)
    home.save(current, attrs.evolve(profile, ca_pem=b"".join(found), front_roots=first.front_roots))


async def renew(home: MachineHome) -> None:
    """Get the next certificates for the same keys and write them. `MSH_HOME` has to name the directory of `home`.

    :raises CliError: the hub refuses or cannot be reached, or the certificate has expired.
    :raises DialError: nobody answers there.
    """
    _current, profile = home.load()
    request = pb.RenewIdentityRequest(keys=_keys(profile.tls_key, profile.ssh_key))
    async with open_api() as hub:
        issued = await hub.unary(_SERVICE + "RenewIdentity", request, pb.MachineCertificates)
    if not issued.tls_certificate_pem or not issued.ssh_certificate:
        raise CliError("the hub's answer cannot be used", "there are no certificates in it")
    # What the connection has found out on its way, such as a balancer, is in the files by now.
    current, before = home.load()
    renewed = _profile(issued, profile.tls_key, profile.ssh_key)
    home.save(current, attrs.evolve(renewed, front_roots=before.front_roots))


def _keys(tls_key: bytes, ssh_key: bytes) -> pb.MachineKeys:
    return pb.MachineKeys(
        tls_public_key_pem=public_key_pem(load_private_key(tls_key).public_key()).decode(),
        ssh_public_key=public_line_of_private_key(ssh_key),
        client_time_ms=time.time_ns() // 1_000_000,
    )


def _profile(issued: pb.MachineCertificates, tls_key: bytes, ssh_key: bytes) -> Profile:
    return Profile(
        ssh_key=ssh_key,
        ssh_certificate=f"{issued.ssh_certificate}\n".encode(),
        tls_key=tls_key,
        tls_certificate=issued.tls_certificate_pem.encode(),
        ca_pem="".join(issued.host_tls_ca_pem).encode(),
        known_hosts="".join(f"@cert-authority * {line}\n" for line in issued.ssh_host_ca).encode(),
    )
