# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.EnrollmentService`: what agents ask of a hub."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import agent_of, unary
from mezite.api.signed_trust import signed_trust
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.nodes.enrollment import Enrolled, Enrollment, JoinRequest
from mezite.services.nodes.live_connections import LiveConnections, SessionReport
from mezite.services.sources import Sources
from mezite.storage.node_sessions import NodeSessionOutcome

__all__ = ["EnrollmentApi"]

_SERVICE = "/mezite.v1.EnrollmentService/"


class EnrollmentApi:
    """The RPCs of one service."""

    def __init__(
        self,
        *,
        enrollment: Enrollment,
        connections: LiveConnections,
        authorities: CertificateAuthorities,
        sources: Sources,
    ) -> None:
        self._enrollment = enrollment
        self._connections = connections
        self._authorities = authorities
        self._sources = sources

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        register = unary(_SERVICE + "RegisterAgent", pb.RegisterAgentRequest, pb.AgentIdentity)
        renew = unary(_SERVICE + "RenewAgentIdentity", pb.RenewAgentIdentityRequest, pb.AgentIdentity)
        beat = unary(_SERVICE + "AgentHeartbeat", pb.AgentHeartbeatRequest, pb.AgentHeartbeatResponse)
        start = unary(
            _SERVICE + "ReportSessionStart", pb.ReportSessionStartRequest, pb.ReportSessionStartResponse
        )
        end = unary(_SERVICE + "ReportSessionEnd", pb.ReportSessionEndRequest, pb.ReportSessionEndResponse)
        refusal = unary(_SERVICE + "ReportRefusal", pb.ReportRefusalRequest, pb.ReportRefusalResponse)
        return [
            register(self.register, "agent.join", "agent", public=True),
            renew(self.renew, "agent.renew", "agent"),
            beat(self.heartbeat, "agent.heartbeat", "agent"),
            start(self.session_start, "agent.report", "session"),
            end(self.session_end, "agent.report", "session"),
            refusal(self.refusal, "agent.report", "session"),
        ]

    async def register(self, request: pb.RegisterAgentRequest, context: CallContext) -> pb.AgentIdentity:
        """Join with a token."""
        enrolled = await self._enrollment.join(
            JoinRequest(
                secret=request.join_token,
                node_name=request.node_name,
                labels=dict(request.labels),
                version=request.version,
                tls_public_key_pem=request.tls_public_key_pem.encode(),
                ssh_public_key=request.ssh_public_key,
                agent_time=request.agent_time_ms,
            ),
            client_address=context.peer.client_address,
        )
        return self._identity(enrolled)

    async def renew(self, request: pb.RenewAgentIdentityRequest, context: CallContext) -> pb.AgentIdentity:
        """Get the next generation of certificates."""
        enrolled = await self._enrollment.renew(
            agent_of(context),
            tls_public_key_pem=request.tls_public_key_pem.encode(),
            ssh_public_key=request.ssh_public_key,
            agent_time=request.agent_time_ms,
            client_address=context.peer.client_address,
        )
        return self._identity(enrolled)

    async def heartbeat(
        self, request: pb.AgentHeartbeatRequest, context: CallContext
    ) -> pb.AgentHeartbeatResponse:
        """Say that the agent is there, what it is and whom it trusts; learn whom to trust."""
        await self._enrollment.heartbeat(
            agent_of(context),
            labels=dict(request.labels),
            version=request.version,
            trusted_key_ids=tuple(request.trusted_key_ids),
        )
        hubs, users = self._authorities.host_tls_ca_pem, self._authorities.user_ssh_ca_lines
        # For each of thousands of agents every minute: usually there is nothing new.
        is_known = frozenset(request.trusted_key_ids) == self._authorities.key_ids_for_agents
        return pb.AgentHeartbeatResponse(
            server_time_ms=self._sources.now(),
            user_ssh_ca=[] if is_known else users,
            host_tls_ca_pem=[] if is_known else hubs,
            signing_key_ids=self._authorities.signing_key_ids,
        )

    async def session_start(
        self, request: pb.ReportSessionStartRequest, context: CallContext
    ) -> pb.ReportSessionStartResponse:
        """A session begins on a connection that this hub gave to this agent."""
        report = SessionReport(
            connection_id=request.connection_id,
            session_id=request.session_id,
            login=request.login,
            kind=request.kind,
            command=request.command,
            pty=request.pty,
            certificate_serial=request.certificate_serial,
        )
        await self._connections.session_started(agent_of(context), report)
        return pb.ReportSessionStartResponse()

    async def session_end(
        self, request: pb.ReportSessionEndRequest, context: CallContext
    ) -> pb.ReportSessionEndResponse:
        """A session has ended."""
        outcome = NodeSessionOutcome(
            exit_status=request.exit_status if request.HasField("exit_status") else None,
            bytes_from_user=request.bytes_in,
            bytes_to_user=request.bytes_out,
        )
        await self._connections.session_ended(
            agent_of(context),
            request.session_id,
            outcome,
            exit_signal=request.exit_signal[:32],
            reason=request.reason[:256],
        )
        return pb.ReportSessionEndResponse()

    async def refusal(
        self, request: pb.ReportRefusalRequest, context: CallContext
    ) -> pb.ReportRefusalResponse:
        """The agent has refused a login that the hub had let through."""
        event_id = await self._connections.refused(
            agent_of(context), request.connection_id, login=request.login, reason=request.reason
        )
        return pb.ReportRefusalResponse(event_id=event_id)

    def _identity(self, enrolled: Enrolled) -> pb.AgentIdentity:
        issued = enrolled.certificates
        return pb.AgentIdentity(
            agent_id=enrolled.agent.agent_id,
            cluster_name=self._authorities.cluster,
            node_name=enrolled.agent.node_name,
            generation=issued.generation,
            tls_certificate_pem=issued.tls_certificate_pem,
            ssh_host_certificate=issued.ssh_host_certificate,
            host_tls_ca_pem=self._authorities.host_tls_ca_pem,
            user_ssh_ca=self._authorities.user_ssh_ca_lines,
            server_time_ms=self._sources.now(),
            expires_at_ms=issued.expires_at,
            trust=signed_trust(self._authorities.signed_trust()),
        )
