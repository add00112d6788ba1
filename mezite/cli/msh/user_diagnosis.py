# SPDX-License-Identifier: Apache-2.0
"""From a user's machine to a node, step by step."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence

import attrs
import trio

from mezite.api.grpc_hop import clock_offset
from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.cli.hub_client.hub_dialing import connect_hub, front_outbound
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.hub_client.user_certificate import check_usable, read_user_certificate
from mezite.cli.hub_client.user_session import open_api, open_channel
from mezite.cli.hub_client.web_client import ALPN as WEB_ALPN
from mezite.cli.hub_client.web_client import find_hub
from mezite.cli.terminal.errors import CliError
from mezite.core.diagnosis import Finding, StepFailedError
from mezite.core.durations import format_duration
from mezite.core.mux.connection import ChannelHeader
from mezite.core.wrong_doors import Door
from mezite.net.diagnosis_walk import Walk
from mezite.net.hop import Hop, describe_session, other_door, wrong_door
from mezite.net.http1_client import Http1ClientError, request
from mezite.net.outbound import Outbound
from mezite.net.tls_stream import TlsStream
from mezite.net.tunnel_route import Carrier
from mezite.net.websocket_stream import WebSocketStream

__all__ = ["diagnose_user"]

PING = "/v1/webapi/ping"
MAX_BANNER = 4096
"""Lines ahead of the version and the version itself (RFC 4253 section 4.2); a node's server sends 40 bytes."""

OUR_BANNER = b"SSH-2.0-mezite_doctor\r\n"
"""Some servers wait for the client's, though the RFC lets both sides speak at once."""

_SSH_STEPS = ("ssh: DNS", "ssh: TCP", "ssh: TLS", "ssh: hub")
_NODE_STEPS = ("node: online", "node: SSH banner")


async def diagnose_user(proxy: str | None, node: str | None, outbound: Outbound) -> Sequence[Finding]:
    """Walk to the hub of the profile, or of ``proxy``, and on to ``node`` if one is given."""
    doctor = _UserDoctor(proxy=proxy, node=node, outbound=outbound)
    walk = Walk()
    known = await walk.step("profile", doctor.look_at_profile)
    if doctor.web_address:
        await doctor.walk_web(walk)
    if known and doctor.identity is not None:
        await doctor.walk_ssh(walk, doctor.identity)
    else:
        for name in (*_SSH_STEPS, *(_NODE_STEPS if node else ())):
            walk.skip(name, "not tried: there is no certificate to show")
    return walk.findings


@attrs.define(eq=False, kw_only=True)
class _UserDoctor:
    proxy: str | None
    node: str | None
    outbound: Outbound
    web_address: str = ""
    identity: tuple[CurrentProfile, Profile] | None = None
    roots: tuple[bytes, ...] = ()
    """The CA that an earlier login has learned."""
    hub_time: int | None = None
    found: pb.Node | None = None

    async def look_at_profile(self) -> str:
        """Who the user is, and until when."""
        store = ProfileStore.from_environment(os.environ)
        if self.proxy is not None:
            self.web_address = await find_hub(self.proxy)
        try:
            current = store.current()
            profile = store.load(current)
        except CliError:
            if self.proxy is not None:
                return "not logged in"
            raise
        self.roots = (profile.ca_pem,)
        self.outbound = front_outbound(profile.front_roots)
        self.web_address = self.web_address or current.proxy_addr
        check_usable(current, profile)
        certificate = read_user_certificate(profile)
        self.identity = current, profile
        left = format_duration(max(0, certificate.valid_before - time.time_ns() // 1_000_000_000))
        return f"{current.user} of cluster {current.cluster}, roles {','.join(certificate.roles)}, valid for {left}"

    async def walk_web(self, walk: Walk) -> None:
        """The HTTPS port, which `msh login` needs."""
        hop = Hop(self.web_address, Door.WEB, "--proxy", self.outbound)
        try:
            reached = await walk.chain(
                ("web: DNS", hop.look_up),
                ("web: TCP", hop.connect),
                ("web: TLS", lambda: self._secure_web(hop)),
                ("web: hub", lambda: self._ping(hop)),
            )
        finally:
            await hop.aclose()
        if reached and self.hub_time is not None:
            await walk.step("clock", self._compare_clocks)
        else:
            walk.skip("clock", "the hub did not tell its time")

    async def _secure_web(self, hop: Hop) -> str:
        stream = await hop.secure(
            self.outbound.context(WEB_ALPN, self.roots),
            server_hostname=hop.host_port[0],
            hint="give `msh login` --ca-pin with what `mezhub ca-pin` prints on the hub, or --ca-file",
        )
        return describe_session(stream)

    async def _ping(self, hop: Hop) -> str:
        assert hop.transport is not None
        headers = [("accept", "application/json"), ("connection", "close")]
        try:
            response = await request(hop.transport, "GET", PING, headers, host=hop.address)
            values = json.loads(response.body)
            hub = f"cluster {values['cluster_name']}, version {values['version']}"
            self.hub_time = int(values["server_time_ms"])
        except Http1ClientError as error:
            raise await wrong_door(hop, str(error)) from error
        except (ValueError, KeyError, TypeError):
            reason = f"status {response.status}, and no answer of a hub"
            raise await wrong_door(hop, reason) from None
        return hub

    async def _compare_clocks(self) -> str:
        await trio.lowlevel.checkpoint()
        assert self.hub_time is not None
        return clock_offset(time.time_ns() // 1_000_000, self.hub_time)

    async def walk_ssh(self, walk: Walk, identity: tuple[CurrentProfile, Profile]) -> None:
        """The SSH port, and through it the node."""
        current, profile = identity
        hop = self._ssh_hop(current)
        steps = [
            ("ssh: DNS", hop.look_up),
            ("ssh: TCP", hop.connect),
            ("ssh: TLS", lambda: self._prove_hub(hop, current, profile)),
            ("ssh: hub", self._list_nodes),
        ]
        if self.node is not None:
            steps += [("node: online", self._look_at_node), ("node: SSH banner", self._read_banner)]
        try:
            await walk.chain(*steps)
        finally:
            await hop.aclose()

    def _ssh_hop(self, current: CurrentProfile) -> Hop:
        if current.carrier == Carrier.WEBSOCKET.value:
            return Hop(current.proxy_addr, Door.WEB, "--proxy", self.outbound)
        address = current.ssh_addr or current.host
        return Hop(address, Door.SSH, "the SSH address that the hub told at login", self.outbound)

    async def _prove_hub(self, hop: Hop, current: CurrentProfile, profile: Profile) -> str:
        """The session that proves both sides, the way `msh ssh` makes it: bare, or in one that a balancer ends."""
        await hop.aclose()
        try:
            stream = await connect_hub(current, profile)
        except CliError as error:
            advice = await other_door(hop)
            if advice is None:
                raise
            raise StepFailedError(f"{advice.why} ({error.why or error.what})", advice.hint) from error
        hop.transport = stream
        return describe_session(stream) + _carried_in(stream)

    async def _list_nodes(self) -> str:
        async with open_api() as hub:
            answer = await hub.unary(
                "/mezite.v1.NodeService/ListNodes", pb.ListNodesRequest(), pb.ListNodesResponse
            )
        self.found = next((node for node in answer.nodes if node.name == self.node), None)
        online = sum(node.status == "online" for node in answer.nodes)
        count = len(answer.nodes)
        return f"{count} node{'s' * (count != 1)} you may reach, {online} of them online"

    async def _look_at_node(self) -> str:
        await trio.lowlevel.checkpoint()
        if self.found is None:
            raise StepFailedError(
                f"there is no node {self.node}, or you may not reach it",
                "`msh ls` shows the nodes you may reach; ask an administrator for a role that allows this one",
            )
        node = self.found
        if node.lock_reason:
            raise StepFailedError(f"it is locked: {node.lock_reason}", "ask an administrator of the hub")
        if node.status == "offline":
            raise StepFailedError(
                "its agent is not connected to the hub", "run `mezd doctor` on the node, and start mezd there"
            )
        return f"{node.status}, logins {','.join(node.logins) or 'none'}, mezd {node.version or 'unknown'}"

    async def _read_banner(self) -> str:
        header = ChannelHeader(kind="ssh", target=str(self.node))
        received = b""
        async with open_channel(header) as channel:
            await channel.send_all(OUR_BANNER)
            while b"\n" not in received and len(received) < MAX_BANNER:
                data = await channel.receive_some(MAX_BANNER)
                if not data:
                    break
                received += data
        banner = received.partition(b"\n")[0].strip().decode("ascii", "replace")
        if not banner.startswith("SSH-"):
            raise StepFailedError(
                f"the node's SSH server does not greet: {banner or 'it says nothing'}",
                "look into the log of mezd on the node",
            )
        return banner


def _carried_in(stream: TlsStream) -> str:
    if isinstance(stream.transport, WebSocketStream):
        return ", inside a WebSocket"
    return ", inside another TLS session" if isinstance(stream.transport, TlsStream) else ""
