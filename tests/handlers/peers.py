# SPDX-License-Identifier: Apache-2.0
"""Agents and users as a hub sees them: TLS connections with a mux session inside."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from mezite.cli.hub_client.profile_store import Profile
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.net.dialer import dial
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import MuxSession, TunnelClosedError
from mezite.net.tls_contexts import mutual_client_context
from mezite.net.tls_stream import TlsStream
from tests.hub.live_hub import Enrolled, LiveHub

API = ChannelHeader(kind="api")


def agent_context(enrolled: Enrolled, alpn: Sequence[str] = ("mezite-tunnel/1",)) -> ssl.SSLContext:
    identity = enrolled.identity
    return mutual_client_context(
        [pem.encode() for pem in identity.host_tls_ca_pem],
        identity.tls_certificate_pem.encode(),
        enrolled.keys.tls_key_pem,
        alpn,
    )


def user_context(profile: Profile, alpn: Sequence[str] = ("mezite-connect/1",)) -> ssl.SSLContext:
    return mutual_client_context([profile.ca_pem], profile.tls_certificate, profile.tls_key, alpn)


async def dial_tls(address: str, context: ssl.SSLContext) -> TlsStream:
    stream = TlsStream(await dial(address, 1), context, server_side=False)
    await stream.do_handshake()
    return stream


@asynccontextmanager
async def session_on(stream: trio.abc.Stream) -> AsyncIterator[MuxSession]:
    session = MuxSession(stream, Side.DIALER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_quietly, session)
        yield session
        nursery.cancel_scope.cancel()


async def run_quietly(session: MuxSession) -> None:
    try:
        await session.run()
    except TunnelClosedError:
        return


@attrs.define(eq=False)
class FakeAgent:
    """Echoes on every channel that the hub opens."""

    session: MuxSession
    headers: list[ChannelHeader] = attrs.field(factory=list)
    channels: list[MuxChannel] = attrs.field(factory=list)

    async def serve(self) -> None:
        async with trio.open_nursery() as nursery:
            while True:
                pending = await self.session.accept_channel()
                self.headers.append(pending.header)
                nursery.start_soon(self._echo, await pending.accept())

    async def _echo(self, channel: MuxChannel) -> None:
        self.channels.append(channel)
        try:
            async for data in channel:
                await channel.send_all(data)
            # Only then, so that a half-close which does not get through would hang the test.
            await channel.send_all(b"<end>")
            await channel.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


@asynccontextmanager
async def agent_session(hub: LiveHub, enrolled: Enrolled) -> AsyncIterator[MuxSession]:
    """A tunnel, not necessarily one that the hub takes."""
    async with session_on(await dial_tls(hub.address("tunnel"), agent_context(enrolled))) as session:
        yield session


@asynccontextmanager
async def online_agent(hub: LiveHub, enrolled: Enrolled) -> AsyncIterator[FakeAgent]:
    """A tunnel that is in the registry, echoing."""
    async with agent_session(hub, enrolled) as session, trio.open_nursery() as nursery:
        agent = FakeAgent(session)
        nursery.start_soon(serve_quietly, agent)
        with trio.fail_after(10):
            while hub.hub.services.registry.find(enrolled.identity.agent_id) is None:
                await hub.hub.services.registry.wait_tunnel()
                await trio.lowlevel.checkpoint()
        yield agent
        nursery.cancel_scope.cancel()


async def serve_quietly(agent: FakeAgent) -> None:
    try:
        await agent.serve()
    except* TunnelClosedError:
        pass


@asynccontextmanager
async def user_session(hub: LiveHub, profile: Profile) -> AsyncIterator[MuxSession]:
    async with session_on(await dial_tls(hub.address("ssh"), user_context(profile))) as session:
        yield session


async def goodbye(session: MuxSession) -> str:
    """What the hub said when it ended the session."""
    with trio.fail_after(15):
        await session.wait_closed()
    goaway = session.goaway_received
    return "" if goaway is None else f"{goaway.code.name} {goaway.text}"


async def read_all(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([bytes(chunk) async for chunk in stream])
