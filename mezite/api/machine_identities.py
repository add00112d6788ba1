# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.MachineIdentityService`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mezite.api.pb.mezite.v1 import identities_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.api.signed_trust import signed_trust
from mezite.api.users import trait_values, user_message
from mezite.services.login.certificates import IssuedToUser
from mezite.services.users.machine_identities import (
    CreatedMachine,
    KnownMachine,
    MachineIdentities,
    MachineKeys,
    NewMachine,
)

__all__ = ["MachineIdentitiesApi"]

_SERVICE = "/mezite.v1.MachineIdentityService/"


class MachineIdentitiesApi:
    """The RPCs of one service."""

    def __init__(self, machines: MachineIdentities, addresses: Callable[[], Mapping[str, str]]) -> None:
        """`addresses` are what clients should dial, by listener."""
        self._machines = machines
        self._addresses = addresses

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        create = unary(_SERVICE + "CreateIdentity", pb.CreateIdentityRequest, pb.CreateIdentityResponse)
        token = unary(
            _SERVICE + "CreateIdentityToken", pb.CreateIdentityTokenRequest, pb.CreateIdentityResponse
        )
        listing = unary(_SERVICE + "ListIdentities", pb.ListIdentitiesRequest, pb.ListIdentitiesResponse)
        delete = unary(_SERVICE + "DeleteIdentity", pb.DeleteIdentityRequest, pb.DeleteIdentityResponse)
        begin = unary(_SERVICE + "BootstrapIdentity", pb.BootstrapIdentityRequest, pb.MachineCertificates)
        renew = unary(_SERVICE + "RenewIdentity", pb.RenewIdentityRequest, pb.MachineCertificates)
        return [
            create(self.create, "identities.create", "machine_identity"),
            token(self.create_token, "identities.create", "machine_identity"),
            listing(self.list_identities, "identities.list", "machine_identity"),
            delete(self.delete, "identities.delete", "machine_identity"),
            begin(self.begin, "identities.begin", "machine_identity", public=True),
            renew(self.renew, "self.identity.renew", "machine_identity"),
        ]

    async def create(
        self, request: pb.CreateIdentityRequest, context: CallContext
    ) -> pb.CreateIdentityResponse:
        """An identity and its first token."""
        created = await self._machines.create(
            NewMachine(
                name=request.name,
                roles=tuple(request.roles),
                traits=trait_values(request.traits),
                max_ttl_seconds=request.max_ttl_seconds,
                token_ttl_seconds=request.token_ttl_seconds,
            ),
            by=user_of(context).name,
            client_address=context.peer.client_address,
        )
        return _created(created)

    async def create_token(
        self, request: pb.CreateIdentityTokenRequest, context: CallContext
    ) -> pb.CreateIdentityResponse:
        """Another token for an identity."""
        created = await self._machines.replace_token(
            request.name,
            ttl_seconds=request.token_ttl_seconds,
            by=user_of(context).name,
            client_address=context.peer.client_address,
        )
        return _created(created)

    async def list_identities(
        self, _request: pb.ListIdentitiesRequest, _context: CallContext
    ) -> pb.ListIdentitiesResponse:
        """All by name."""
        known = await self._machines.list_machines()
        return pb.ListIdentitiesResponse(identities=[_message(one) for one in known])

    async def delete(
        self, request: pb.DeleteIdentityRequest, context: CallContext
    ) -> pb.DeleteIdentityResponse:
        """The identity and its user are no more."""
        await self._machines.delete(
            request.name, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.DeleteIdentityResponse()

    async def begin(
        self, request: pb.BootstrapIdentityRequest, context: CallContext
    ) -> pb.MachineCertificates:
        """Token in, first certificates out."""
        return self._issued(await self._machines.begin(request.token, _keys(request.keys, context)))

    async def renew(self, request: pb.RenewIdentityRequest, context: CallContext) -> pb.MachineCertificates:
        """The next certificates."""
        return self._issued(await self._machines.renew(user_of(context), _keys(request.keys, context)))

    def _issued(self, issued: IssuedToUser) -> pb.MachineCertificates:
        authorities, addresses = self._machines.authorities, self._addresses()
        return pb.MachineCertificates(
            name=issued.user_name,
            cluster_name=authorities.cluster,
            ssh_certificate=issued.certificates.ssh_certificate,
            tls_certificate_pem=issued.certificates.tls_certificate_pem,
            ssh_host_ca=authorities.host_ssh_ca_lines,
            host_tls_ca_pem=authorities.host_tls_ca_pem,
            roles=issued.roles,
            logins=issued.logins,
            expires_at_ms=issued.certificates.expires_at,
            server_time_ms=self._machines.sources.now(),
            web_addr=addresses.get("web", ""),
            ssh_addr=addresses.get("ssh", ""),
            auth_addr=addresses.get("auth", ""),
            trust=signed_trust(authorities.signed_trust()),
        )


def _keys(message: pb.MachineKeys, context: CallContext) -> MachineKeys:
    return MachineKeys(
        ssh_public_key=message.ssh_public_key,
        tls_public_key_pem=message.tls_public_key_pem.encode(),
        client_time=message.client_time_ms,
        client_address=context.peer.client_address,
    )


def _created(created: CreatedMachine) -> pb.CreateIdentityResponse:
    return pb.CreateIdentityResponse(token=created.token.reveal(), identity=_message(created.known))


def _message(known: KnownMachine) -> pb.MachineIdentity:
    machine = known.machine
    return pb.MachineIdentity(
        user=user_message(known.user),
        max_ttl_seconds=machine.max_ttl_seconds,
        generation=machine.generation,
        renewed_at_ms=machine.renewed_at or 0,
        renewed_from=machine.renewed_from or "",
        token_expires_at_ms=machine.token_expires_at or 0,
        created_by=machine.created_by,
    )
