# SPDX-License-Identifier: Apache-2.0
"""`msh app login` against a hub and an agent that echoes: ports, several applications, refusals."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.msh.app_tunnels import AppPort, open_tunnels
from mezite.cli.terminal.errors import CliError
from mezite.core.apps.app import App
from mezite.storage import apps
from mezite.testing.ports import free_port
from tests.cli.commands import run
from tests.handlers.peers import online_agent, read_all
from tests.hub.live_hub import LiveHub, live_hub, serving_apps

REDIS = App(name="redis", uri="tcp://127.0.0.1:6379", protocol="tcp", agent_hostnames=("web-1",))


@attrs.define(eq=False)
class Msh:
    """What the command has printed."""

    out: list[str] = attrs.field(factory=list)
    err: list[str] = attrs.field(factory=list)
    printed: trio.lowlevel.ParkingLot = attrs.field(factory=trio.lowlevel.ParkingLot)

    def announce(self, line: str) -> None:
        self.out.append(line)
        self.printed.unpark_all()

    def say(self, line: str) -> None:
        self.err.append(line)
        self.printed.unpark_all()

    async def app_login(self, *wanted: AppPort) -> None:
        await open_tunnels(wanted, self.announce, self.say)

    async def lines(self, printed: Sequence[str], count: int) -> Sequence[str]:
        with trio.fail_after(20):
            while len(printed) < count:
                await self.printed.park()
        return printed


@asynccontextmanager
async def cluster(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveHub]:
    async with live_hub(folder / "hub", proxy=serving_apps(folder)) as hub:
        database, sources = hub.hub.ground.database, hub.hub.ground.sources
        for app in (REDIS, attrs.evolve(REDIS, name="postgres")):
            await database.write(apps.insert, app=app, revision=sources.new_id(), now=sources.now())
        await hub.hub.services.watch.look()
        current, profile = await hub.user()
        monkeypatch.setenv("MSH_HOME", str(folder / "msh"))
        ProfileStore(folder / "msh").save(current, profile)
        async with online_agent(hub, await hub.enroll()):
            yield hub


async def test_several_applications_in_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with cluster(tmp_path, monkeypatch) as hub, trio.open_nursery() as nursery:
        msh, port = Msh(), free_port()
        nursery.start_soon(msh.app_login, AppPort("redis", port), AppPort("postgres"))
        first, second = await msh.lines(msh.out, 2)
        assert first == f"Tunnel open: 127.0.0.1:{port} -> redis"
        assert second.startswith("Tunnel open: 127.0.0.1:")
        assert second.endswith(" -> postgres")
        free = int(second.split()[2].rpartition(":")[2])
        for number in (port, free, port):
            async with await trio.open_tcp_stream("127.0.0.1", number) as stream:
                await stream.send_all(b"hello")
                await stream.send_eof()
                assert await read_all(stream) == b"hello<end>"
        with pytest.raises(CliError) as taken:
            await Msh().app_login(AppPort("redis", port))
        assert str(taken.value) == (
            f"cannot listen on 127.0.0.1:{port} for redis: the port is taken; "
            "give another --port, or none for a free one"
        )
        # What runs is cut with the reason, and what is refused later is said; the client sees a reset and no end.
        async with await trio.open_tcp_stream("127.0.0.1", free) as stream:
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"hello"
            await hub.hub.services.apps.set_enabled(
                "postgres", False, by="root", client_address="192.0.2.1:1"
            )
            with pytest.raises(trio.BrokenResourceError):
                await read_all(stream)
        assert list(await msh.lines(msh.err, 1)) == [
            "a connection to postgres was ended: application postgres is disabled"
        ]
        await hub.hub.services.apps.remove("redis", by="root", client_address="192.0.2.1:1")
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            with pytest.raises(trio.BrokenResourceError):
                await read_all(stream)
        _cut, said = await msh.lines(msh.err, 2)
        assert said.startswith("error: application redis: not found, or you may not use it")
        nursery.cancel_scope.cancel()


async def test_what_the_hub_refuses_is_said_before_anything_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(tmp_path, monkeypatch):
        msh, port = Msh(), free_port()
        with pytest.RaisesGroup(pytest.RaisesExc(CliError, match="application nosuch: not found")):
            await msh.app_login(AppPort("redis", port), AppPort("nosuch"))
        assert (msh.out, msh.err) == ([], [])
        with pytest.raises(OSError, match=r"refused|failed"):
            await trio.open_tcp_stream("127.0.0.1", port)


def test_nobody_is_logged_in(tmp_path: Path) -> None:
    result = run("msh", "app", "login", "redis", environ={"MSH_HOME": str(tmp_path)})
    assert result.code == 1
    assert result.err.startswith("error: not signed in")
