# SPDX-License-Identifier: Apache-2.0
"""A hub and an agent, as they run, through a rotation of the CA that both prove themselves by (threats F1, F5)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from mezite.agent.daemon import run_agent
from mezite.agent.identity_store import IdentityStore
from mezite.core.certificates.trust_bundle import key_id_of_certificate
from mezite.core.mux.header import ChannelHeader
from mezite.core.rotation import Step
from mezite.core.secret import Secret
from mezite.hub import trust_keeper
from mezite.net.mux_session import TunnelClosedError
from mezite.net.tls_contexts import mutual_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.keys import Purpose
from mezite.services.authorities.rotation import AuthorityRotation
from mezite.services.nodes.trust_news import tell_agents
from mezite.services.nodes.tunnel_registry import Tunnel, TunnelRegistry
from mezite.storage.errors import DatabaseBusyError
from tests.hub.live_hub import LiveHub, live_hub
from tests.services.conftest import database_path, world, world_template

__all__ = ["database_path", "world", "world_template"]

BY = {"by": "root", "client_address": "192.0.2.7:1"}
HOST = Purpose.HOST_TLS


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """The hub and the agent talk over real sockets: there is nothing to wait on but what they have stored."""
    with trio.fail_after(30):
        while not await holds():  # noqa: ASYNC110 - what another thread stores has no event
            await trio.sleep(0.02)


@attrs.frozen
class Pair:
    hub: LiveHub
    store: IdentityStore

    @property
    def rotation(self) -> AuthorityRotation:
        return self.hub.hub.ground.rotation

    @property
    def authorities(self) -> CertificateAuthorities:
        return self.hub.hub.ground.authorities

    async def agent_trusts(self, *pins: str) -> None:
        """Until the agent has stored exactly these, and has said so."""

        async def holds() -> bool:
            identity = self.store.load()
            assert identity is not None
            stored = {key_id_of_certificate(pem) for pem in identity.host_tls_ca_pem}
            (status,) = await self.rotation.status([HOST])
            return stored == set(pins) and not status.readiness.agents_waiting

        await until(holds)

    async def tunnel(self) -> Tunnel:
        return await self.hub.hub.services.registry.wait_tunnel()


@asynccontextmanager
async def hub_and_agent(folder: Path) -> AsyncIterator[Pair]:
    async with live_hub(folder / "hub") as hub, trio.open_nursery() as nursery:
        config = hub.agent_config(folder / "agent", join_token=Secret(await hub.join_token()))

        async def agent() -> None:
            await run_agent(config, node_name="web-1", now=hub.sources.now)

        nursery.start_soon(agent)
        pair = Pair(hub, IdentityStore(folder / "agent"))
        await pair.tunnel()
        yield pair
        nursery.cancel_scope.cancel()


async def handshake_with(pair: Pair, identity_of: object, keys: object) -> None:
    """Raises TlsError unless the hub's tunnel port takes the certificate."""
    context = mutual_client_context(
        [pem.encode() for pem in pair.authorities.host_tls_ca_pem],
        identity_of.tls_certificate_pem.encode(),
        keys.tls_key_pem,
        ("mezite-tunnel/1",),
    )
    host, _, port = pair.hub.address("tunnel").rpartition(":")
    async with await trio.open_tcp_stream(host, int(port)) as transport:
        stream = TlsStream(transport, context, server_side=False)
        await stream.do_handshake()
        await stream.receive_some()


async def test_an_agent_follows_without_losing_its_tunnel(tmp_path: Path) -> None:
    async with hub_and_agent(tmp_path) as pair:
        old, tunnel = pair.authorities.host_pin, await pair.tunnel()
        before, keys = pair.store.load(), pair.store.load_keys()
        await pair.rotation.begin(HOST, **BY)
        new = pair.authorities.host_pins[1]
        await pair.agent_trusts(old, new)

        # Clients have a day; this test has not.
        assert await pair.rotation.force(HOST, **BY) is Step.ACTIVATED
        shown = pair.hub.hub.tls
        await until_shows(shown, new)
        assert await pair.tunnel() is tunnel
        await handshake_with(pair, before, keys)
        tunnel.close()
        await until_another(pair, tunnel)

        second = await pair.tunnel()
        await pair.rotation.force(HOST, **BY)
        await pair.agent_trusts(new)
        assert await pair.tunnel() is second
        # What the old CA has signed is worth nothing at new handshakes.
        with pytest.raises((TlsError, trio.BrokenResourceError)):
            await handshake_with(pair, before, keys)


async def until_shows(tls: object, pin: str) -> None:
    async def holds() -> bool:
        ca = tls.certificates.tls_certificate_pem.decode().partition("-----END CERTIFICATE-----\n")[2]
        return key_id_of_certificate(ca) == pin

    await until(holds)


async def until_another(pair: Pair, tunnel: Tunnel) -> None:
    async def holds() -> bool:
        return await pair.tunnel() is not tunnel

    await until(holds)


# ---- the keeper alone


@attrs.define
class Tls:
    followed: int = 0
    failures: int = 0

    def follow_keys(self) -> None:
        if self.failures:
            self.failures -= 1
            raise OSError(24, "Too many open files")
        self.followed += 1


@attrs.define
class Calls:
    """A rotation that counts what it is asked, and fails as long as it is told to."""

    rotation: AuthorityRotation
    tls: Tls
    failures: int = 0
    done: trio.Event = attrs.field(factory=trio.Event)

    async def note_hub(self) -> None:
        if self.failures:
            self.failures -= 1
            raise DatabaseBusyError("busy")
        await self.rotation.note_hub()

    async def advance(self) -> list[Step]:
        if self.tls.followed:
            self.done.set()
        return await self.rotation.advance()

    async def wait_woken(self) -> None:
        await self.rotation.wait_woken()


async def test_what_fails_is_tried_again(world, monkeypatch):
    """Threat P14: no descriptor is free, or the database is busy; the hub stays and looks again."""
    monkeypatch.setattr(trust_keeper, "LOOK_SECONDS", 0)
    rotation = AuthorityRotation(
        database=world.database,
        authorities=world.authorities,
        audit=world.audit,
        sources=world.sources,
        hub_id="hub-1",
    )
    tls = Tls(failures=2)
    calls = Calls(rotation, tls, failures=2)
    async with trio.open_nursery() as nursery:

        async def keep() -> None:
            await trust_keeper.keep_trust(
                authorities=world.authorities, rotation=calls, tls=tls, registry=TunnelRegistry()
            )

        nursery.start_soon(keep)
        await rotation.begin(Purpose.USER_TLS, **BY)
        await calls.done.wait()
        nursery.cancel_scope.cancel()
    assert (calls.failures, tls.failures) == (0, 0)
    assert tls.followed >= 1


# ---- the word through the tunnels


@attrs.define
class Session:
    """An agent's tunnel that does as it is told."""

    fails: bool = False
    opened: list[ChannelHeader] = attrs.field(factory=list)

    async def open_channel(self, header: ChannelHeader, *, deadline_seconds: float = 15) -> object:
        assert deadline_seconds == 15
        if self.fails:
            raise TunnelClosedError("gone")
        self.opened.append(header)
        return trio.testing.memory_stream_pair()[0]


async def test_every_agent_is_told_and_one_that_is_gone_stops_nobody() -> None:
    registry, sessions = TunnelRegistry(), [Session(), Session(fails=True), Session()]
    tunnels = [
        Tunnel(agent_id=f"a{n}", node_name=f"n{n}", epoch=1, session=session, close=lambda: None)
        for n, session in enumerate(sessions)
    ]
    with registry.claim(tunnels[0]), registry.claim(tunnels[1]), registry.claim(tunnels[2]):
        assert await tell_agents(registry) == 2
    assert [session.opened for session in sessions] == [
        [ChannelHeader(kind="trust")],
        [],
        [ChannelHeader(kind="trust")],
    ]
    assert await tell_agents(registry) == 0
