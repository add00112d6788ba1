# SPDX-License-Identifier: Apache-2.0
"""From a configuration and an identity to the few objects of an agent."""

from __future__ import annotations

import logging
import os
import pwd
import random
import ssl
from collections.abc import Callable

import attrs
import trio

from mezite.agent.app_channels import AppChannels
from mezite.agent.hub_api import HubApi
from mezite.agent.identity_store import AgentIdentityFiles, StoredIdentity
from mezite.agent.login_proof import LoginProof
from mezite.agent.node_policy import HubDecision, NodePolicyOfConnection
from mezite.agent.session_reports import SessionReports
from mezite.agent.trust import TrustNews
from mezite.agent.tunnel_client import TunnelClient, TunnelRefusedError
from mezite.agent.ways_to_hub import inner_failure, outer_failure, route_of
from mezite.api.client import ClientOptions, open_api_client
from mezite.config.schema import AgentConfig
from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.keys import load_private_key
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh import parse_authorized_key_line
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.identifiers import uuid7
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.wrong_doors import tunnel_port_hint
from mezite.net.mux_session import ChannelRejectedError, MuxSession, PendingChannel
from mezite.net.outbound import Outbound, OuterTlsError
from mezite.net.tls_contexts import mutual_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.net.websocket_upgrade import UpgradeError
from mezite.ssh.algorithms import HostIdentity
from mezite.ssh.errors import SshError
from mezite.ssh.limits import SshLimits
from mezite.ssh.node_server import NodeService, serve_node_ssh
from mezite.ssh.policy import PeerAddress
from mezite.ssh.spawn import ProcessSpawner

__all__ = ["Agent", "own_login"]

_log = logging.getLogger("mezite.agent")

TUNNEL_ALPN = ("mezite-tunnel/1",)
HANDSHAKE_SECONDS = 15

API_RETRY_SECONDS = 5
"""After an API channel that was refused: the hub is busy or starting."""

API_IDLE_SECONDS = 2
"""An API channel nobody expects to use is closed after this: it costs the hub 35 KiB, a third of what an agent costs,
and an agent without sessions makes one call a minute.
"""

LAST_CALLS_SECONDS = 30
"""For calls under way on an API channel that takes no more: a call has no longer deadline of its own."""


def own_login() -> str | None:
    """Return the only account this agent can serve, or None when it runs as root and can serve all."""
    uid = os.geteuid()
    return None if uid == 0 else pwd.getpwuid(uid).pw_name


@attrs.define(eq=False, kw_only=True)
class Agent:
    """One agent: its identity, its tunnel, its SSH server."""

    config: AgentConfig
    keys: AgentIdentityFiles
    identity: StoredIdentity
    """Replaced at each renewal."""
    spawner: ProcessSpawner
    now: Callable[[], int]
    """Wall clock, milliseconds since 1970."""
    outbound: Outbound = attrs.field(factory=Outbound)
    api: HubApi = attrs.field(factory=HubApi)
    news: TrustNews = attrs.field(factory=TrustNews)
    """Heard when a hub has other CAs to tell of."""
    outdated: TrustNews = attrs.field(factory=TrustNews)
    """Heard when the certificates are by a key that signs no more."""
    apps: AppChannels = attrs.field(factory=AppChannels)
    login: str | None = attrs.field(factory=own_login)

    def tunnel_client(self) -> TunnelClient:
        """Return the loop that holds the tunnel."""
        return TunnelClient(
            connect=self._connect,
            serve_channel=self._serve_channel,
            beside=self._hold_api,
            jitter=random.random,
        )

    def trusted_cas(self) -> list[bytes]:
        """Return the CAs whose users may log in, as last heard from the hub."""
        return [parse_authorized_key_line(line)[1] for line in self.identity.user_ssh_ca]

    # ---- the tunnel

    async def _connect(self) -> TlsStream:
        address = self.config.proxy_addr
        roots = [pem.encode() for pem in self.identity.host_tls_ca_pem]
        route = route_of(self.config, self.outbound)
        try:
            transport = await route.open(roots)
        except (OuterTlsError, UpgradeError) as error:
            raise TunnelRefusedError(outer_failure(route, error)) from error
        stream = TlsStream(transport, self._context(), server_side=False)
        try:
            with trio.fail_after(HANDSHAKE_SECONDS):
                await stream.do_handshake()
            self._check_hub(stream, address)
        except TlsError as error:
            raise TunnelRefusedError(inner_failure(route, error)) from error
        except TunnelRefusedError:
            await trio.aclose_forcefully(stream)
            raise
        return stream

    def _context(self) -> ssl.SSLContext:
        return mutual_client_context(
            [pem.encode() for pem in self.identity.host_tls_ca_pem],
            self.identity.tls_certificate_pem.encode(),
            self.keys.tls_key_pem,
            TUNNEL_ALPN,
        )

    def _check_hub(self, stream: TlsStream, address: str) -> None:
        if stream.alpn != TUNNEL_ALPN[0]:
            raise TunnelRefusedError(
                f"{address} is a hub but not its tunnel port: it is the HTTPS or gRPC port; "
                f"{tunnel_port_hint(address)}"
            )
        certificate = stream.peer_certificate()
        if certificate is None:
            raise TunnelRefusedError(f"{address} shows no certificate")
        roots = [root for pem in self.identity.host_tls_ca_pem for root in load_certificates(pem.encode())]
        try:
            verify_x509(
                certificate,
                ca_certs=roots,
                cluster=self.identity.cluster_name,
                kind=PeerKind.HUB,
                now=self.now() // 1000,
            )
        except CertificateRefused as refused:
            raise TunnelRefusedError(f"{address} is not a hub of this cluster: {refused.message}") from None

    async def _hold_api(self, session: MuxSession) -> None:
        """Open an API channel beside the tunnel when a call wants one, and another when the last has ended."""
        async with trio.open_nursery() as nursery:
            while session.goaway_received is None:
                await self.api.wait_wanted()
                try:
                    spent: trio.Event = await nursery.start(self._run_api, session)
                except ChannelRejectedError as rejected:
                    _log.warning("the hub offers no API channel", extra={"reason": str(rejected)})
                    await trio.sleep(API_RETRY_SECONDS)
                else:
                    await spent.wait()

    async def _run_api(self, session: MuxSession, *, task_status: trio.TaskStatus[trio.Event]) -> None:
        channel = await session.open_channel(ChannelHeader(kind="api"))
        async with open_api_client(channel, ClientOptions(authority="hub")) as client:
            spent = self.api.attach(client)
            try:
                task_status.started(spent)
                await self.api.wait_unused(spent, idle_seconds=API_IDLE_SECONDS)
                if spent.is_set():
                    await trio.sleep(LAST_CALLS_SECONDS)
            finally:
                self.api.detach(client)
                spent.set()

    # ---- channels

    async def _serve_channel(self, pending: PendingChannel) -> None:
        if pending.header.kind == "trust":
            # There is nothing in it: what is to be trusted is asked for, on a way that proves the hub.
            self.news.hear()
            await trio.aclose_forcefully(await pending.accept())
            return
        if pending.header.kind == "app":
            await self.apps.serve(pending)
            return
        if pending.header.kind != "ssh":
            pending.reject(ErrorCode.REFUSED, f"this agent serves no {pending.header.kind} channels")
            return
        decision = HubDecision.of_header(pending.header)
        policy = NodePolicyOfConnection(
            decision, trusted_cas=self.trusted_cas, now=self.now, own_login=self.login
        )
        service = NodeService(
            host=HostIdentity.from_line(
                load_private_key(self.keys.ssh_key_pem),  # type: ignore[arg-type]
                self.identity.ssh_host_certificate,
            ),
            hooks=SessionReports(self.api, decision.connection_id),
            spawner=self.spawner,
            clock=lambda: self.now() / 1000,
            new_session_id=lambda: uuid7(self.now(), os.urandom(10)),
            limits=SshLimits(idle_seconds=decision.idle_timeout),
        )
        peer = PeerAddress(client_ip=decision.client_ip, client_port=decision.client_port)
        proof = LoginProof(self.api, decision.connection_id)
        try:
            # The start of a session is reported before it begins: the way there is open when the login is through.
            with self.api.expecting_calls():
                stream = await pending.accept()
                await serve_node_ssh(stream, service, policy=policy, peer=peer, prove=proof.prove)
        except SshError as error:
            _log.info("SSH connection ended", extra={"reason": str(error), "user_name": decision.user})
