# SPDX-License-Identifier: Apache-2.0
"""A real server behind a real agent that goes down and comes back, and what the hub makes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from mezite.agent.daemon import run_agent
from mezite.config.kinds import HostPort, ListenAddress
from mezite.config.schema import ProxyConfig
from mezite.core.apps.app import AppOptions
from mezite.core.apps.health import AgentHealth, HealthState
from mezite.core.secret import Secret
from mezite.services.apps.registration import AppRegistration
from mezite.testing.ports import free_port
from tests.hub.live_hub import ANYWHERE, LOCAL, LiveHub, live_hub


async def answer(stream: trio.SocketStream) -> None:
    """As a server with one page, which it may not have."""
    async with stream:
        try:
            got = b""
            while b"\r\n\r\n" not in got:
                data = await stream.receive_some()
                if not data:
                    return
                got += data
            status = b"200 OK" if got.startswith(b"GET /healthz HTTP/1.1\r\n") else b"404 Not Found"
            await stream.send_all(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        except trio.BrokenResourceError:
            return


@asynccontextmanager
async def server(port: int) -> AsyncIterator[None]:
    listeners = await trio.open_tcp_listeners(port, host=LOCAL)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, answer, listeners)
        yield
        nursery.cancel_scope.cancel()


async def until(hub: LiveHub, state: HealthState) -> AgentHealth:
    services = hub.hub.services
    with trio.fail_after(60):
        while True:
            (view,) = await services.launcher.status.views([(await services.apps.get("wiki")).app])
            if view.health["web-1"].state is state:
                return view.health["web-1"]
            await trio.sleep(0.1)


async def test_a_server_that_goes_down_and_comes_back(tmp_path: Path) -> None:
    proxy = ProxyConfig(
        listen_addr=ListenAddress(LOCAL, free_port()),
        ssh_listen_addr=ANYWHERE,
        tunnel_listen_addr=ANYWHERE,
        public_addr=HostPort("hub.localhost", 443),
        apps_domain="apps.localhost",
    )
    port = free_port()
    async with live_hub(tmp_path / "hub", proxy=proxy) as hub, trio.open_nursery() as nursery:
        agent = hub.agent_config(tmp_path / "agent", join_token=Secret(await hub.join_token()))

        async def agent_runs() -> None:
            await run_agent(agent, node_name="web-1", now=hub.sources.now)

        nursery.start_soon(agent_runs)
        registration = AppRegistration(
            name="wiki",
            uri=f"http://{LOCAL}:{port}",
            agent_hostnames=("web-1",),
            options=AppOptions(health_path="/healthz", health_interval=1),
        )
        await hub.hub.services.apps.register(registration, by="test", client_address=f"{LOCAL}:1")
        async with server(port):
            well = await until(hub, HealthState.HEALTHY)
        ill = await until(hub, HealthState.UNHEALTHY)
        assert ill.reason == f"cannot connect to {LOCAL}:{port}: connection refused"
        assert well.since is not None
        assert ill.since is not None
        assert ill.since >= well.since
        async with server(port):
            await until(hub, HealthState.HEALTHY)
        nursery.cancel_scope.cancel()
