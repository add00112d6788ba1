# SPDX-License-Identifier: Apache-2.0
"""Channels of kind `app` in a user's tunnel (threats A12, E8, E14, H4)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding
from trio.testing import MockClock

from mezite.core.apps.app import App
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.rbac.locks import LockTarget
from mezite.handlers.app_tcp import AppTcpHandler
from mezite.net.mux_channel import ChannelResetError, MuxChannel
from mezite.net.mux_session import ChannelRejectedError, MuxSession
from mezite.services.apps.access import AppSession
from mezite.storage import apps
from mezite.testing.mux_sessions import SessionPair
from tests.handlers.peers import FakeAgent, online_agent, read_all, user_session
from tests.hub.live_hub import LiveHub, live_hub, serving_apps

REDIS = App(
    name="redis",
    uri="tcp://127.0.0.1:6379",
    protocol="tcp",
    labels={"env": "prod"},
    agent_hostnames=("web-1",),
)
OFFLINE = attrs.evolve(REDIS, name="offline", agent_hostnames=("web-9",))
WIKI = App(name="wiki", uri="http://127.0.0.1:80", public_addr="wiki.apps.example.com")


def to(app: str, **attributes: str) -> ChannelHeader:
    return ChannelHeader(kind="app", target=app, attributes=attributes)


async def store(hub: LiveHub, app: App) -> None:
    database, sources = hub.hub.ground.database, hub.hub.ground.sources
    await database.write(apps.insert, app=app, revision=sources.new_id(), now=sources.now())


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[LiveHub, FakeAgent, MuxSession]]:
    """A hub, applications, an agent that echoes in the place of any of them, and alice connected."""
    async with live_hub(folder, proxy=serving_apps(folder)) as hub:
        for app in (REDIS, OFFLINE, WIKI):
            await store(hub, app)
        await hub.hub.services.watch.look()
        _current, profile = await hub.user()
        async with online_agent(hub, await hub.enroll()) as agent, user_session(hub, profile) as session:
            yield hub, agent, session


async def refusal(session: MuxSession, header: ChannelHeader) -> ChannelRejectedError:
    with pytest.raises(ChannelRejectedError) as refused:
        await session.open_channel(header)
    return refused.value


async def recorded(hub: LiveHub, event_type: str, count: int = 1) -> list[dict[str, object]]:
    """As soon as there are so many."""
    with trio.fail_after(10):
        while len(lines := await hub.audited(event_type)) < count:
            await trio.lowlevel.checkpoint()
    return [json.loads(line) for line in lines]


async def reset_of(channel: MuxChannel) -> ChannelResetError:
    with pytest.raises(ChannelResetError) as reset, trio.fail_after(300):
        await read_all(channel)
    return reset.value


async def test_bytes_and_their_ends(tmp_path: Path) -> None:
    """Both ways, each direction for itself; what one application does ends its own connection only."""
    async with cluster(tmp_path) as (hub, agent, session):
        asked = await session.open_channel(to("redis", check="1"))
        assert await read_all(asked) == b""
        assert agent.headers == [], "a question reaches no agent"
        assert await hub.audited("app.session.start") == []
        channel = await session.open_channel(to("redis"))
        await channel.send_all(b"hello")
        await channel.send_eof()
        assert await read_all(channel) == b"hello<end>"
        (header,) = agent.headers
        assert (header.kind, header.target, header.user) == ("app", "127.0.0.1:6379", "alice")
        assert header.client_address.startswith("127.0.0.1:")
        (end,) = await recorded(hub, "app.session.end")
        assert (end["bytes_from_user"], end["bytes_to_user"], end["session_id"]) == (5, 10, header.trace_id)
        broken, fine = await session.open_channel(to("redis")), await session.open_channel(to("redis"))
        agent.channels[1].reset(ErrorCode.CONNECTION_LOST, "it is gone")
        assert (await reset_of(broken)).text == "it is gone"
        await fine.send_all(b"y")
        assert await fine.receive_some() == b"y"
        ends = await recorded(hub, "app.session.end", 2)
        assert {each["reason"] for each in ends} == {"", "the connection was broken off"}


async def test_what_is_refused_has_its_code_and_reason_and_a_lock_cuts(tmp_path: Path) -> None:
    """Threat E14."""
    async with cluster(tmp_path) as (hub, agent, session):
        for attributes in ({}, {"check": "1"}):
            missing = await refusal(session, to("nosuch", **attributes))
            assert missing.code is ErrorCode.NOT_FOUND
            assert missing.text.startswith("application nosuch: not found, or you may not use it")
            web = await refusal(session, to("wiki", **attributes))
            assert web.code is ErrorCode.UNREACHABLE
            assert "it is a web application: `msh app open wiki` opens it" in web.text
        offline = await refusal(session, to("offline"))
        assert offline.code is ErrorCode.UNREACHABLE
        assert offline.text == "application offline cannot be reached: its agent is offline (web-9)"
        assert agent.headers == [], "nothing reached the agent"
        channel = await session.open_channel(to("redis"))
        _current, profile = await hub.user("root", roles=("admin",))
        certificate = load_certificates(profile.tls_certificate)[0].public_bytes(Encoding.DER)
        root = await hub.hub.services.authenticator.by_tls_certificate(certificate, "192.0.2.1:1")
        await hub.hub.services.locks.create(
            LockTarget.USER, "alice", message="lost laptop", by=root, client_address="192.0.2.1:1"
        )
        reset = await reset_of(channel)
        assert reset.code is ErrorCode.REFUSED
        assert "lost laptop" in reset.text
        (end,) = await recorded(hub, "app.session.end")
        assert "lost laptop" in str(end["reason"])


@attrs.define(eq=False)
class HastyAccess:
    """Lets everybody through, for as long as bytes come."""

    session: AppSession

    @asynccontextmanager
    async def connect(self, *_who: object, **_where: object) -> AsyncIterator[AppSession]:
        yield self.session


async def test_the_idle_timeout_of_the_roles(autojump_clock: MockClock) -> None:
    tunnel, user = SessionPair(), SessionPair()
    async with trio.open_nursery() as nursery:
        await tunnel.start(nursery)
        await user.start(nursery)
        ours, theirs = await tunnel.open()
        access = HastyAccess(AppSession(stream=ours, idle_timeout=60))

        async def serve() -> None:
            pending = await user.accepter.accept_channel()
            await AppTcpHandler(access=access).serve(pending, None, "192.0.2.1:1")

        nursery.start_soon(serve)
        channel = await user.dialer.open_channel(to("redis"))
        began = trio.current_time()
        await trio.sleep(50)
        await channel.send_all(b"x")
        for end in (channel, theirs):
            reset = await reset_of(end)
            assert (reset.code, reset.text) == (ErrorCode.DEADLINE, "no data either way for 60 s")
        assert trio.current_time() - began == pytest.approx(110, abs=1)
        nursery.cancel_scope.cancel()
    assert access.session.reason == "no data either way for 60 s"
