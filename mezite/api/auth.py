# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AuthService`: logging in and getting certificates."""

from __future__ import annotations

import attrs

from mezite import __version__
from mezite.api.pb.mezite.v1 import auth_pb2 as pb
from mezite.api.proofs import proof_in
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.api.signed_trust import signed_trust
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.errors import UnauthenticatedError
from mezite.services.factors.password_change import PasswordChange
from mezite.services.login.certificates import UserCertificateService
from mezite.services.login.codes import ShownCode
from mezite.services.login.password_login import LoginRefusedError, LoginService
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.self_probes import PROBE_HEADER, SelfProbes, Sighting
from mezite.services.sources import Sources

__all__ = ["AuthApi"]

_SERVICE = "/mezite.v1.AuthService/"


@attrs.frozen(kw_only=True)
class AuthApi:
    """The RPCs of one service."""

    login: LoginService
    certificates: UserCertificateService
    authorities: CertificateAuthorities
    sources: Sources
    requests: AccessRequests
    password: PasswordChange
    probes: SelfProbes = attrs.field(factory=SelfProbes)

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        ping = unary(_SERVICE + "Ping", pb.PingRequest, pb.PingResponse)
        ca = unary(_SERVICE + "GetClusterCa", pb.GetClusterCaRequest, pb.GetClusterCaResponse)
        local = unary(
            _SERVICE + "AuthenticateLocal", pb.AuthenticateLocalRequest, pb.AuthenticateLocalResponse
        )
        certs = unary(_SERVICE + "IssueUserCerts", pb.IssueUserCertsRequest, pb.IssueUserCertsResponse)
        password = unary(_SERVICE + "ChangePassword", pb.ChangePasswordRequest, pb.ChangePasswordResponse)
        logout = unary(_SERVICE + "Logout", pb.LogoutRequest, pb.LogoutResponse)
        return [
            ping(self.ping, "cluster.ping", "cluster", public=True),
            ca(self.cluster_ca, "cluster.ca", "cluster", public=True),
            local(self.authenticate_local, "account.login", "account", public=True),
            certs(self.issue_user_certs, "self.certificates.issue", "account"),
            password(self.change_password, "self.password.change", "account"),
            logout(self.log_out, "self.logout", "account"),
        ]

    async def ping(self, _request: pb.PingRequest, context: CallContext) -> pb.PingResponse:
        """Who this cluster is."""
        probe = context.metadata.get(PROBE_HEADER)
        if isinstance(probe, str):
            self.probes.note(probe, Sighting(context.peer.client_address))
        return pb.PingResponse(
            cluster_name=self.authorities.cluster,
            version=__version__,
            server_time_ms=self.sources.now(),
            host_ca_pin=f"sha256:{self.authorities.host_pin}",
        )

    async def cluster_ca(
        self, _request: pb.GetClusterCaRequest, _context: CallContext
    ) -> pb.GetClusterCaResponse:
        """The Host CA, to be held against a pin."""
        return pb.GetClusterCaResponse(
            cluster_name=self.authorities.cluster,
            host_tls_ca_pem=self.authorities.host_tls_ca_pem,
            server_time_ms=self.sources.now(),
            trust=signed_trust(self.authorities.signed_trust()),
        )

    async def authenticate_local(
        self, request: pb.AuthenticateLocalRequest, context: CallContext
    ) -> pb.AuthenticateLocalResponse:
        """Password and, of who has one, a second factor in; session out."""
        try:
            started = await self.login.with_password(
                request.username,
                request.password,
                client_address=context.peer.client_address,
                shown=ShownCode(totp=request.totp, recovery_code=request.recovery_code),
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return pb.AuthenticateLocalResponse(
            session_token=started.token.reveal(),
            user_name=started.user.name,
            roles=started.user.roles,
            expires_at_ms=started.expires_at,
        )

    async def issue_user_certs(
        self, request: pb.IssueUserCertsRequest, context: CallContext
    ) -> pb.IssueUserCertsResponse:
        """Certificates for the caller's own keys."""
        issued = await self.certificates.issue(
            await self.requests.assume(user_of(context), request.request_ids),
            ssh_public_key=request.ssh_public_key,
            tls_public_key_pem=request.tls_public_key_pem.encode(),
            ttl_seconds=request.ttl_seconds,
            client_address=context.peer.client_address,
        )
        return pb.IssueUserCertsResponse(
            ssh_certificate=issued.certificates.ssh_certificate,
            tls_certificate_pem=issued.certificates.tls_certificate_pem,
            ssh_host_ca=self.authorities.host_ssh_ca_lines,
            host_tls_ca_pem=self.authorities.host_tls_ca_pem,
            cluster_name=self.authorities.cluster,
            user_name=issued.user_name,
            roles=issued.roles,
            logins=issued.logins,
            expires_at_ms=issued.certificates.expires_at,
            request_ids=issued.request_ids,
        )

    async def change_password(
        self, request: pb.ChangePasswordRequest, context: CallContext
    ) -> pb.ChangePasswordResponse:
        """Replace the caller's own password; all other sessions of theirs end."""
        await self.password.change(
            user_of(context),
            old=request.old_password,
            new=request.new_password,
            proof=proof_in(request.proof),
            client_address=context.peer.client_address,
        )
        return pb.ChangePasswordResponse()

    async def log_out(self, _request: pb.LogoutRequest, context: CallContext) -> pb.LogoutResponse:
        """End the session that the call was made with."""
        await self.login.logout(user_of(context), client_address=context.peer.client_address)
        return pb.LogoutResponse()
