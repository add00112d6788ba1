# SPDX-License-Identifier: Apache-2.0
"""An agent behind a balancer that ends TLS: the outer session is the balancer's, the inner one the hub's."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
import trio

from mezite.agent.assembly import Agent
from mezite.agent.daemon import prepare_identity
from mezite.agent.identity_store import IdentityStore
from mezite.agent.tunnel_client import TunnelRefusedError
from mezite.api.dialing import ApiConnectError
from mezite.core.secret import Secret
from mezite.net.outbound import Outbound
from mezite.ssh.spawn import ProcessSpawner
from mezite.testing.self_signed import self_signed_pem
from tests.hub.live_hub import Enrolled, LiveHub, hub_config, live_hub
from tests.loopback import listening
from tests.net.fronts import answering, tls_front

PEM = self_signed_pem()
TRUSTING = Outbound(extra_roots=(PEM[0],))


def agent_of(hub: LiveHub, enrolled: Enrolled, folder: Path, outbound: Outbound, **changes: object) -> Agent:
    return Agent(
        config=hub.agent_config(folder, **changes),
        keys=enrolled.keys,
        identity=enrolled.identity,
        spawner=ProcessSpawner.__new__(ProcessSpawner),
        now=hub.sources.now,
        outbound=outbound,
    )


async def test_a_wrapped_tunnel(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, tls_front(hub.address("tunnel"), PEM) as front:
        agent = agent_of(hub, await hub.enroll(), tmp_path, TRUSTING, proxy_addr=front, tls_wrap=True)
        stream = await agent._connect()
        assert (stream.version, stream.alpn) == ("TLSv1.3", "mezite-tunnel/1")
        await trio.aclose_forcefully(stream)


async def test_an_unwrapped_agent_is_told_of_tls_wrap(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, tls_front(hub.address("tunnel"), PEM) as front:
        agent = agent_of(hub, await hub.enroll(), tmp_path, TRUSTING, proxy_addr=front)
        with pytest.raises(TunnelRefusedError, match=r"verify failed.*set tls_wrap \(MEZITE_TLS_WRAP=true\)"):
            await agent._connect()


async def test_a_front_that_nobody_vouches_for(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, tls_front(hub.address("tunnel"), PEM) as front:
        agent = agent_of(hub, await hub.enroll(), tmp_path, Outbound(), proxy_addr=front, tls_wrap=True)
        with pytest.raises(
            TunnelRefusedError, match=r"outer TLS: certificate verify failed.*set outer_ca_file"
        ):
            await agent._connect()


async def test_a_front_that_holds_no_tls(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        agent = agent_of(
            hub, await hub.enroll(), tmp_path, TRUSTING, proxy_addr=hub.address("diag"), tls_wrap=True
        )
        with pytest.raises(TunnelRefusedError, match=r"outer TLS: .*set tls_wrap to false"):
            await agent._connect()


async def test_behind_the_front_there_is_no_hub_of_ours(tmp_path: Path) -> None:
    """A balancer with a good certificate is not yet the hub: the inner handshake is always ours."""
    async with (
        live_hub(tmp_path / "a") as hub,
        live_hub(tmp_path / "b", fresh=True) as other,
        tls_front(other.address("tunnel"), PEM) as front,
    ):
        agent = agent_of(hub, await hub.enroll(), tmp_path, TRUSTING, proxy_addr=front, tls_wrap=True)
        with pytest.raises(TunnelRefusedError, match=r"inner TLS: certificate verify failed.*TCP, not HTTP"):
            await agent._connect()


async def join_through(
    hub: LiveHub, front: str, folder: Path, outbound: Outbound, ca_pin: str | None = None
) -> str:
    config = attrs.evolve(
        hub.agent_config(folder),
        auth_addr=front,
        join_token=Secret(await hub.join_token()),
        ca_pin=ca_pin,
    )
    store = IdentityStore(folder)
    identity = await prepare_identity(
        store, config, node_name="web-1", now=hub.sources.now, outbound=outbound
    )
    return identity.node_name


async def test_joining_through_a_front_that_ends_tls(tmp_path: Path) -> None:
    auth = attrs.evolve(hub_config(tmp_path).auth, grpc_allow_http=True)
    async with (
        live_hub(tmp_path / "hub", auth=auth) as hub,
        tls_front(hub.address("auth"), PEM, alpn=("h2",)) as front,
    ):
        assert await join_through(hub, front, tmp_path / "agent", TRUSTING) == "web-1"
        with pytest.raises(ApiConnectError, match=r"neither the cluster's CA nor.*set outer_ca_file"):
            await join_through(hub, front, tmp_path / "other", Outbound())
        with pytest.raises(ApiConnectError, match="is not the one that the CA pin names"):
            await join_through(hub, front, tmp_path / "third", TRUSTING, ca_pin="sha256:" + "0" * 64)


# --- WebSockets ----------------------------------------------------------------------------------------------


def https(address: str) -> str:
    return f"https://{address}"


async def test_a_tunnel_in_a_websocket(tmp_path: Path) -> None:
    """Straight to the hub's own HTTPS port, whose certificate is of the cluster's CA."""
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        agent = agent_of(hub, await hub.enroll(), tmp_path, Outbound(), proxy_addr=https(hub.address("web")))
        nursery.start_soon(agent.tunnel_client().run)
        tunnel = await hub.hub.services.registry.wait_tunnel()
        await tunnel.session.wait_round_trip()
        assert tunnel.node_name == "web-1"
        nursery.cancel_scope.cancel()


async def test_a_websocket_that_breaks_is_dialled_again(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub, trio.open_nursery() as nursery:
        agent = agent_of(hub, await hub.enroll(), tmp_path, Outbound(), proxy_addr=https(hub.address("web")))
        nursery.start_soon(agent.tunnel_client().run)
        first = await hub.hub.services.registry.wait_tunnel()
        first.close()
        with trio.fail_after(20):
            while (again := await hub.hub.services.registry.wait_tunnel()) is first:
                await first.session.wait_closed()
        assert again.epoch > first.epoch
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (404, "passes on WebSockets"),
        (426, "passes on WebSockets"),
        (421, "use the address in its proxy.public_addr"),
        (502, "the balancer cannot reach the hub"),
    ],
)
async def test_a_front_without_websockets(tmp_path: Path, status: int, hint: str) -> None:
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    async with (
        live_hub(tmp_path) as hub,
        listening(answering(answer)) as plain,
        tls_front(plain, PEM) as front,
    ):
        agent = agent_of(hub, await hub.enroll(), tmp_path, TRUSTING, proxy_addr=https(front))
        with pytest.raises(TunnelRefusedError) as refused:
            await agent._connect()
    assert f"WebSocket: it answered with status {status}; " in str(refused.value)
    assert hint in str(refused.value)


async def test_a_websocket_to_another_cluster(tmp_path: Path) -> None:
    async with (
        live_hub(tmp_path / "a") as hub,
        live_hub(tmp_path / "b", fresh=True) as other,
    ):
        roots = Outbound(
            extra_roots=tuple(pem.encode() for pem in other.hub.ground.authorities.host_tls_ca_pem)
        )
        agent = agent_of(hub, await hub.enroll(), tmp_path, roots, proxy_addr=https(other.address("web")))
        with pytest.raises(TunnelRefusedError, match="inner TLS: certificate verify failed"):
            await agent._connect()
        stranger = agent_of(
            hub, await hub.enroll("web-2"), tmp_path, Outbound(), proxy_addr=https(other.address("web"))
        )
        with pytest.raises(
            TunnelRefusedError, match=r"outer TLS: certificate verify failed.*set outer_ca_file"
        ):
            await stranger._connect()
