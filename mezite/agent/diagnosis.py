# SPDX-License-Identifier: Apache-2.0
"""From an agent to its hub, step by step, without disturbing the agent that may be running."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from mezite.agent.assembly import TUNNEL_ALPN
from mezite.agent.identity_store import IdentityDamagedError, IdentityStore, StoredIdentity
from mezite.agent.ways_to_hub import TUNNEL_PORT, route_of
from mezite.api.dialing import GRPC_ALPN
from mezite.api.grpc_hop import GrpcHop, clock_offset
from mezite.config.schema import AgentConfig
from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.diagnosis import Finding, StepFailedError
from mezite.core.durations import format_duration
from mezite.core.join_token import InvalidJoinTokenError, parse_ca_pin, parse_join_token
from mezite.core.mux.connection import MuxConnection, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import NEED_DATA, ConnectionClosed, GoAwayReceived
from mezite.core.wrong_doors import Door
from mezite.net.addresses import join_host_port, split_host_port
from mezite.net.diagnosis_walk import Walk, nothing_to_do
from mezite.net.hop import Hop, describe_session, wrong_door
from mezite.net.outbound import Outbound
from mezite.net.tls_contexts import mutual_client_context, unverified_client_context
from mezite.net.tls_stream import TlsStream
from mezite.net.tunnel_route import HTTP_ALPN, HTTPS_PORT, TUNNEL_PATH, Carrier
from mezite.net.websocket_stream import WebSocketStream
from mezite.net.websocket_upgrade import UpgradeError, open_websocket

__all__ = ["diagnose_agent"]

REFUSAL_SECONDS = 5.0
"""For the hub's first bytes: it looks the agent up before it says anything."""

MAX_SETTINGS_BYTES = 8 * 1024

FAREWELL_SECONDS = 0.3
"""A hub that refuses an agent says so right behind its first bytes."""


async def diagnose_agent(
    config: AgentConfig, outbound: Outbound, now: Callable[[], int]
) -> Sequence[Finding]:
    """Walk from here to the hub. ``now`` is the wall clock in milliseconds since 1970."""
    walk = Walk()
    doctor = _AgentDoctor(config=config, outbound=outbound, now=now)
    await walk.step("identity", doctor.look_at_identity)
    tunnel = doctor.tunnel_hop()
    try:
        await walk.chain(
            ("tunnel: DNS", tunnel.look_up),
            ("tunnel: TCP", tunnel.connect),
            ("tunnel: outer TLS", lambda: doctor.wrap(tunnel)),
            ("tunnel: WebSocket", lambda: doctor.upgrade(tunnel)),
            ("tunnel: handshake", lambda: doctor.shake_hands(tunnel)),
        )
    finally:
        await tunnel.aclose()
    hop = Hop(config.auth_addr, Door.GRPC, "MEZITE_AUTH_ADDR", outbound)
    grpc = GrpcHop(hop=hop, context=unverified_client_context(GRPC_ALPN), ca_pin=doctor.ca_pin)
    try:
        reached = await walk.chain(*grpc.steps)
    finally:
        await hop.aclose()
    if reached and grpc.server_time is not None:
        hub_time = grpc.server_time
        await walk.step("clock", lambda: doctor.compare_clocks(hub_time))
    else:
        walk.skip("clock", "the hub did not tell its time")
    return walk.findings


@attrs.define(eq=False, kw_only=True)
class _AgentDoctor:
    config: AgentConfig
    outbound: Outbound
    now: Callable[[], int]
    identity: StoredIdentity | None = None
    ca_pin: str | None = None
    """64 hex digits, from the identity or the token."""

    async def look_at_identity(self) -> str:
        """Who the agent is, or that it can become someone."""
        await trio.lowlevel.checkpoint()
        store = IdentityStore(Path(self.config.data_dir))
        try:
            self.identity = store.load()
        except IdentityDamagedError as error:
            raise StepFailedError(str(error), f"delete {store.folder} and join with a new token") from None
        except OSError as error:
            raise StepFailedError(
                f"cannot read {error.filename}: {error.strerror}", "run mezd doctor as the agent's user"
            ) from None
        if self.identity is None:
            return self._look_at_token()
        self.ca_pin = self.identity.host_ca_pin.removeprefix("sha256:")
        certificate = load_certificates(self.identity.tls_certificate_pem.encode())[0]
        left = int(certificate.not_valid_after_utc.timestamp()) - self.now() // 1000
        if left <= 0:
            raise StepFailedError(
                f"it expired {format_duration(-left)} ago",
                f"delete {store.folder} and start with a new join token",
            )
        who = f"node {self.identity.node_name} of cluster {self.identity.cluster_name}"
        return f"{who}, valid for {format_duration(left)}"

    def _look_at_token(self) -> str:
        hint = "set MEZITE_JOIN_TOKEN to what `mezctl tokens create --roles=node` prints"
        token = None if self.config.join_token is None else self.config.join_token.reveal()
        if token is None and self.config.join_token_file is not None:
            try:
                token = Path(self.config.join_token_file).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise StepFailedError(
                    f"cannot read {self.config.join_token_file}: {error}", "check join_token_file"
                ) from None
        if token is None:
            raise StepFailedError("this agent has not joined a cluster, and there is no join token", hint)
        try:
            own = self.config.ca_pin
            self.ca_pin = parse_join_token(token).ca_pin if own is None else parse_ca_pin(own)
        except InvalidJoinTokenError as error:
            raise StepFailedError(f"the join token cannot be used: {error}", hint) from None
        return "not joined yet; there is a join token"

    @property
    def carrier(self) -> Carrier:
        """What the tunnel travels in."""
        return route_of(self.config, self.outbound).carrier

    def tunnel_hop(self) -> Hop:
        """The port that the tunnel is opened to."""
        route = route_of(self.config, self.outbound)
        door = Door.WEB if route.carrier is Carrier.WEBSOCKET else Door.TUNNEL
        hop = Hop(route.address, door, "MEZITE_PROXY_ADDR", self.outbound)
        with suppress(ValueError):  # an address that cannot be read is the first step's finding
            hop.address = join_host_port(*split_host_port(route.address, route.default_port))
        return hop

    async def wrap(self, hop: Hop) -> str:
        """The outer TLS session, which a load balancer ends, or the hub's HTTPS port."""
        if self.carrier is Carrier.TCP:
            raise nothing_to_do("MEZITE_TLS_WRAP is not set")
        roots = () if self.identity is None else self.identity.host_tls_ca_pem
        alpn = HTTP_ALPN if self.carrier is Carrier.WEBSOCKET else ()
        stream = await hop.secure(
            self.outbound.context(alpn, [pem.encode() for pem in roots]),
            server_hostname=hop.host_port[0],
            hint="set MEZITE_OUTER_CA_FILE to the roots of the load balancer's certificate",
        )
        return describe_session(stream)

    async def upgrade(self, hop: Hop) -> str:
        """The WebSocket, where only HTTP passes."""
        if self.carrier is not Carrier.WEBSOCKET:
            raise nothing_to_do("MEZITE_PROXY_ADDR does not begin with https://")
        assert hop.transport is not None, "connect() comes first"
        host, port = hop.host_port
        named = join_host_port(host, port).removesuffix(f":{HTTPS_PORT}")
        try:
            hop.transport = WebSocketStream(await open_websocket(hop.transport, named, TUNNEL_PATH))
        except UpgradeError as error:
            raise StepFailedError(
                error.reason,
                "let the load balancer pass on WebSockets (nginx: proxy_http_version 1.1, the Upgrade and Connection "
                "headers); MEZITE_PROXY_ADDR must point to the hub's HTTPS port, at the name in proxy.public_addr",
            ) from error
        return "switched"

    async def shake_hands(self, hop: Hop) -> str:
        """The tunnel's own TLS session, and whether the hub takes this agent.

        The hub counts an agent as connected only when it has answered a first question, which is not done here: the
        tunnel of an agent that is running stays where it is.
        """
        stream = await hop.secure(self._tunnel_context())
        if stream.alpn != TUNNEL_ALPN[0]:
            raise await wrong_door(hop, "no tunnel is offered")
        if self.identity is None:
            return "a hub's tunnel port; the agent has yet to join"
        self._check_hub(stream, self.identity)
        refusal = await _refusal(stream)
        if refusal:
            raise StepFailedError(f"the hub refuses this agent: {refusal}", "ask an administrator of the hub")
        return describe_session(stream)

    def _tunnel_context(self) -> ssl.SSLContext:
        keys = IdentityStore(Path(self.config.data_dir)).load_keys()
        if self.identity is None or keys is None:
            return unverified_client_context(TUNNEL_ALPN)
        return mutual_client_context(
            [pem.encode() for pem in self.identity.host_tls_ca_pem],
            self.identity.tls_certificate_pem.encode(),
            keys.tls_key_pem,
            TUNNEL_ALPN,
        )

    def _check_hub(self, stream: TlsStream, identity: StoredIdentity) -> None:
        roots = [root for pem in identity.host_tls_ca_pem for root in load_certificates(pem.encode())]
        try:
            verify_x509(
                stream.peer_certificate() or b"",
                ca_certs=roots,
                cluster=identity.cluster_name,
                kind=PeerKind.HUB,
                now=self.now() // 1000,
            )
        except CertificateRefused as refused:
            raise StepFailedError(
                f"this is not a hub of the agent's cluster: {refused.message}",
                f"check MEZITE_PROXY_ADDR (default port {TUNNEL_PORT})",
            ) from None

    async def compare_clocks(self, hub_time: int) -> str:
        """How far the clocks here and there are apart."""
        await trio.lowlevel.checkpoint()
        return clock_offset(self.now(), hub_time)


async def _refusal(stream: TlsStream) -> str:
    """The reason in the hub's farewell; empty when there is none."""
    mux = MuxConnection(Side.DIALER)
    # Our settings, which the hub waits for before it speaks freely; the answer to its first question is never sent.
    await stream.send_all(mux.data_to_send(MAX_SETTINGS_BYTES))
    with trio.move_on_after(REFUSAL_SECONDS) as patience:
        while True:
            data = await stream.receive_some()
            if not data:
                return "the connection was closed without a reason"
            mux.receive_data(data)
            while (event := mux.next_event()) is not NEED_DATA:
                if isinstance(event, GoAwayReceived) and event.code is not ErrorCode.NO_ERROR:
                    return event.text or event.code.name.lower()
                if isinstance(event, ConnectionClosed):
                    return str(event.error or "the connection was closed")
            patience.deadline = min(patience.deadline, trio.current_time() + FAREWELL_SECONDS)
    return ""
