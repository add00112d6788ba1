# SPDX-License-Identifier: Apache-2.0
"""One agent against a real hub: who it lets in, what it serves, and its way to the API (threats A12, F2, B5)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from mezite.agent.assembly import API_IDLE_SECONDS, API_RETRY_SECONDS, Agent, own_login
from mezite.agent.hub_api import HubApi
from mezite.agent.tunnel_client import TunnelRefusedError
from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from mezite.api.rpc import CallContext, PeerInfo, RpcMethod
from mezite.api.server import GrpcServer
from mezite.api.service_methods import unary
from mezite.config.schema import AgentConfig
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError
from mezite.ssh.spawn import open_spawner
from tests.hub.live_hub import Enrolled, LiveHub, live_hub

SSH = ChannelHeader(kind="ssh", target="web-1", user="alice", client_address="192.0.2.7:50000")


@asynccontextmanager
async def agent_of(config: AgentConfig, enrolled: Enrolled, hub: LiveHub) -> AsyncIterator[Agent]:
    async with open_spawner() as spawner:
        yield Agent(
            config=config,
            keys=enrolled.keys,
            identity=enrolled.identity,
            spawner=spawner,
            now=hub.sources.now,
        )


def test_an_ordinary_user_serves_only_himself() -> None:
    assert own_login() == (None if os.geteuid() == 0 else os.environ["USER"])


@pytest.mark.parametrize("port", ["web", "auth", "ssh"])
async def test_another_port_of_the_hub_is_named(tmp_path: Path, port: str) -> None:
    async with live_hub(tmp_path) as hub:
        config = hub.agent_config(tmp_path / "agent", proxy_addr=hub.address(port))
        async with agent_of(config, await hub.enroll(), hub) as agent:
            with pytest.raises(TunnelRefusedError) as refused:
                await agent._connect()
    text = str(refused.value)
    refusal = "is a hub but not its tunnel port" if port == "auth" else "does not accept a tunnel: "
    assert text.startswith(f"{hub.address(port)} {refusal}")
    assert "MEZITE_PROXY_ADDR (proxy_addr) must point to the tunnel port (3024), not the HTTPS port" in text


async def test_something_that_does_not_speak_tls(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        config = hub.agent_config(tmp_path / "agent", proxy_addr=hub.address("diag"))
        async with agent_of(config, await hub.enroll(), hub) as agent:
            with pytest.raises(TunnelRefusedError, match=r"does not accept a tunnel: .*tunnel port \(3024\)"):
                await agent._connect()


async def test_a_hub_of_another_cluster_is_refused(tmp_path: Path) -> None:
    async with live_hub(tmp_path / "one") as hub, live_hub(tmp_path / "two", fresh=True) as other:
        enrolled = await hub.enroll()
        foreign = hub.agent_config(tmp_path / "agent", proxy_addr=other.address("tunnel"))
        async with agent_of(foreign, enrolled, hub) as agent:
            with pytest.raises(TunnelRefusedError, match="certificate verify failed"):
                await agent._connect()
        renamed = attrs.evolve(enrolled, identity=attrs.evolve(enrolled.identity, cluster_name="elsewhere"))
        async with agent_of(hub.agent_config(tmp_path / "agent"), renamed, hub) as agent:
            with pytest.raises(TunnelRefusedError, match="is not a hub of this cluster"):
                await agent._connect()


async def test_the_hub_may_open_ssh_and_applications_and_nothing_else(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        config = hub.agent_config(tmp_path / "agent")
        async with agent_of(config, await hub.enroll(), hub) as agent, trio.open_nursery() as nursery:
            nursery.start_soon(agent.tunnel_client().run)
            tunnel = await hub.hub.services.registry.wait_tunnel()
            with pytest.raises(ChannelRejectedError, match="this agent serves no vnc channels") as refused:
                await tunnel.session.open_channel(ChannelHeader(kind="vnc", target="wiki"))
            assert refused.value.code is ErrorCode.REFUSED
            with pytest.raises(ChannelRejectedError, match="cannot dial wiki: it names no port"):
                await tunnel.session.open_channel(ChannelHeader(kind="app", target="wiki"))
            channel = await tunnel.session.open_channel(SSH)
            assert bytes(await channel.receive_some()).startswith(b"SSH-2.0-")
            await channel.send_all(b"GET / HTTP/1.1\r\n\r\n")
            while await channel.receive_some():
                pass
            # What one client did to its connection did nothing to the tunnel.
            again = await tunnel.session.open_channel(SSH)
            assert bytes(await again.receive_some()).startswith(b"SSH-2.0-")
            answer = await agent.api.heartbeat(pb.AgentHeartbeatRequest(version="0.1"))
            assert tuple(answer.user_ssh_ca) == agent.identity.user_ssh_ca
            nursery.cancel_scope.cancel()


# --- the API channel, on memory streams and a clock that jumps -----------------------------------------------

BEAT = pb.AgentHeartbeatRequest(version="0.1")


@attrs.define(eq=False)
class ApiHub:
    """A hub that serves nothing but the API, the first `refused` times not even that."""

    refused: int = 0
    channels: int = 0
    calls: int = 0

    async def heartbeat(
        self, _request: pb.AgentHeartbeatRequest, _context: CallContext
    ) -> pb.AgentHeartbeatResponse:
        self.calls += 1
        return pb.AgentHeartbeatResponse(server_time_ms=self.calls)

    def server(self) -> GrpcServer:
        beat = unary(
            "/mezite.v1.EnrollmentService/AgentHeartbeat",
            pb.AgentHeartbeatRequest,
            pb.AgentHeartbeatResponse,
        )
        return GrpcServer(
            [beat(self.heartbeat, "agent.heartbeat", "agent")], authenticate=somebody, authorize=allowed
        )

    async def serve(self, session: MuxSession) -> None:
        server = self.server()
        async with trio.open_nursery() as nursery:
            while True:
                pending = await session.accept_channel()
                self.channels += 1
                if self.channels <= self.refused:
                    pending.reject(ErrorCode.BACKLOG_FULL, "too busy")
                    continue
                peer = PeerInfo(client_address="192.0.2.1:1", agent="agent-1")
                nursery.start_soon(server.serve_connection, await pending.accept(), peer)


async def somebody(_context: CallContext) -> str:
    return "agent-1"


async def allowed(_identity: object, _method: RpcMethod, _context: CallContext) -> None:
    return None


@asynccontextmanager
async def api_beside_a_tunnel(hub: ApiHub) -> AsyncIterator[tuple[HubApi, MuxSession]]:
    ours, theirs = memory_stream_pair()
    session, far = MuxSession(ours, Side.DIALER), MuxSession(theirs, Side.ACCEPTER)
    agent = Agent(config=None, keys=None, identity=None, spawner=None, now=lambda: 0, login=None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_quietly, far)
        nursery.start_soon(run_quietly, session)
        nursery.start_soon(serve_quietly, hub, far)
        nursery.start_soon(agent._hold_api, session)
        yield agent.api, far
        nursery.cancel_scope.cancel()


async def run_quietly(session: MuxSession) -> None:
    try:
        await session.run()
    except TunnelClosedError:
        return


async def serve_quietly(hub: ApiHub, session: MuxSession) -> None:
    try:
        await hub.serve(session)
    except* TunnelClosedError:
        pass


async def test_the_api_lives_as_long_as_the_tunnel(autojump_clock: MockClock) -> None:
    """A hub ends HTTP/2 connections that are idle for a minute or an hour old."""
    hub = ApiHub()
    async with api_beside_a_tunnel(hub) as (api, _far):
        for _ in range(90):
            await api.heartbeat(BEAT)
            with api.expecting_calls():
                await trio.sleep(45)
        assert hub.channels == 2, "one for each hour"
        await trio.sleep(600)
        await api.heartbeat(BEAT)
        assert (hub.channels, hub.calls) == (3, 91)


async def test_an_api_channel_is_only_there_while_calls_are_expected(autojump_clock: MockClock) -> None:
    hub = ApiHub()
    async with api_beside_a_tunnel(hub) as (api, far):
        await trio.sleep(100)
        assert hub.channels == 0
        with api.expecting_calls():
            await trio.testing.wait_all_tasks_blocked()
            assert hub.channels == 1
            await trio.sleep(30)
            assert far.statistics().mux.channels_theirs == 1
        await api.heartbeat(BEAT)
        await trio.sleep(API_IDLE_SECONDS + 1)
        assert far.statistics().mux.channels_theirs == 0
        await api.heartbeat(BEAT)
        assert (hub.channels, hub.calls) == (2, 2)


async def test_a_busy_hub_is_asked_again(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    hub = ApiHub(refused=1)
    async with api_beside_a_tunnel(hub) as (api, _far):
        begin = trio.current_time()
        await api.heartbeat(BEAT)
        assert trio.current_time() - begin == pytest.approx(API_RETRY_SECONDS, abs=0.1)
    assert "the hub offers no API channel" in caplog.text


async def test_after_a_goaway_no_channel_is_asked_for(autojump_clock: MockClock) -> None:
    hub = ApiHub()
    async with api_beside_a_tunnel(hub) as (api, far):
        await api.heartbeat(BEAT)
        far.send_goaway()
        await trio.sleep(1)
        assert (await api.heartbeat(BEAT)).server_time_ms == 2, "what is there is used to its end"
        await trio.sleep(100)
        with pytest.raises(Exception, match="no tunnel"):
            await api.heartbeat(BEAT)
        assert hub.channels == 1
