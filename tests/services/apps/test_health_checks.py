# SPDX-License-Identifier: Apache-2.0
"""Health checks through agents' tunnels: what counts, when, what is kept of it, and who is tried last for it."""

from contextlib import AsyncExitStack, asynccontextmanager

import attrs
import pytest
import trio

from mezite.core.apps.app import App, AppOptions
from mezite.core.apps.health import AppHealth, HealthState
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsStream
from mezite.services.app_memory import AppMemory
from mezite.services.apps.dialing import AppDialer
from mezite.services.apps.health import HealthBoard
from mezite.services.apps.health_checks import AppHealthChecks, printable
from mezite.services.apps.health_probe import HealthProbe
from mezite.services.apps.status import AppStatus
from mezite.storage import apps
from mezite.storage.backend import run_transaction
from mezite.storage.database_url import parse_database_url
from mezite.storage.errors import DatabaseBusyError
from mezite.storage.sqlite_backend import SqliteBackend
from mezite.testing.self_signed import self_signed_pem
from tests.services.tunnels import connected
from tests.services.world import START

OK = b"HTTP/1.1 204 Fine\r\n\r\n"
SICK = b"HTTP/1.1 503 Away\r\nContent-Length: 99\r\n\r\nnobody reads this"
CERT, KEY = self_signed_pem("wiki.internal")


@attrs.define(eq=False)
class Server:
    """An application, as one agent reaches it."""

    asked: trio.Event = attrs.field(factory=trio.Event)
    answer: bytes | None = OK
    """None: it says nothing."""
    answers_once: bytes = b""
    """To the first request."""
    refuses: ErrorCode | None = None
    tls: bool = False
    offers: tuple = ("http/1.1",)
    seen: list = attrs.field(factory=list)

    async def serve(self, pending):
        self.seen.append(pending.header)
        if self.refuses is not None:
            pending.reject(self.refuses, "cannot connect to it: connection refused")
            return
        stream = await pending.accept()
        try:
            await self.speak(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return

    async def speak(self, stream):
        if self.tls:
            stream = TlsStream(stream, server_context(CERT, KEY, self.offers), server_side=True)
            await stream.do_handshake()
        got = b""
        while b"\r\n\r\n" not in got:
            data = await stream.receive_some()
            if not data:
                return
            got += data
        self.seen.append(got)
        self.asked.set()
        first, self.answers_once = self.answers_once, b""
        if self.answer is not None:
            await stream.send_all(first or self.answer)


class InTask:
    """The world's database without threads, for which a clock that jumps would not wait."""

    def __init__(self, path):
        self.backend = SqliteBackend(parse_database_url(path))
        self.is_away = False

    async def read(self, fn, *args, **fields):
        return await self.run(self.backend.reader, fn, *args, **fields)

    async def write(self, fn, *args, **fields):
        return await self.run(self.backend.writer, fn, *args, **fields)

    async def run(self, engine, fn, *args, **fields):
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise DatabaseBusyError("it is busy")
        return run_transaction(self.backend, engine, lambda conn: fn(conn, *args, **fields))


@attrs.define(eq=False)
class Scene:
    """A hub that checks, with agents whose applications the test makes well and ill."""

    world: object
    database: InTask
    board: HealthBoard
    dialer: AppDialer
    checks: AppHealthChecks
    status: AppStatus
    apps: dict = attrs.field(factory=dict)

    async def register(self, name="wiki", uri="http://10.0.3.12:3000", agents=("web-1",), **options):
        enabled = options.pop("enabled", True)
        app = App(
            name=name,
            uri=uri,
            public_addr="" if uri.startswith("tcp") else "wiki.apps.example.com",
            protocol="tcp" if uri.startswith("tcp") else "http",
            agent_hostnames=agents,
            options=AppOptions(**options),
            enabled=enabled,
        )
        store = apps.replace if name in self.apps else apps.insert
        await self.database.write(store, app=app, revision=self.world.sources.new_id(), now=START)
        self.apps[name] = app
        return app

    async def view(self, name="wiki"):
        (view,) = await self.status.views([self.apps[name]])
        return view

    async def until(self, state, agent="web-1", name="wiki", *, reason=""):
        """Wait for what `mezctl apps get` shows of an agent, and return it."""
        with trio.fail_after(300):
            while True:
                health = (await self.view(name)).health[agent]
                if health.state is state and reason in health.reason:
                    return health
                await trio.sleep(0.5)


@pytest.fixture
async def scene(world, database_path):
    database = InTask(database_path)
    dialer = AppDialer(database=database, registry=world.registry)
    checks = AppHealthChecks(
        memory=AppMemory(database),
        registry=world.registry,
        probe=HealthProbe(dialer=dialer),
        board=dialer.health,
        database=database,
        sources=world.sources,
    )
    status = AppStatus(database=database, registry=world.registry, sources=world.sources)
    yield Scene(world, database, dialer.health, dialer, checks, status)
    database.backend.dispose()


@asynccontextmanager
async def running(scene, **servers):
    """Agents `web-1`, ... with their applications, and the checks; `agent` names have `_` for `-`."""
    async with AsyncExitStack() as stack:
        for name, server in servers.items():
            agent = await scene.world.agent(name.replace("_", "-"))
            await stack.enter_async_context(connected(scene.world, agent, server.serve))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.checks.run)
            yield nursery
            nursery.cancel_scope.cancel()


async def test_an_application_that_falls_ill_and_recovers(scene, autojump_clock, caplog):
    caplog.set_level("INFO", "mezite.apps")
    app = await scene.register(health_path="/healthz", health_interval=10)
    server = Server()
    async with running(scene, web_1=server):
        well = await scene.until(HealthState.HEALTHY)
        assert (well.since, well.reason) == (scene.world.clock.now, "")
        assert server.seen[0].user == ""
        assert server.seen[1].startswith(b"GET /healthz HTTP/1.1\r\nHost: wiki.apps.example.com\r\n")
        assert caplog.records == []
        scene.world.clock.now += 60_000
        server.answer = SICK
        ill = await scene.until(HealthState.UNHEALTHY)
        assert (ill.since, ill.reason) == (scene.world.clock.now, "HTTP 503")
        assert scene.board.is_unhealthy(app, "web-1")
        assert (await scene.view()).overall_health is AppHealth.UNHEALTHY
        scene.world.clock.now += 60_000
        server.refuses = ErrorCode.UNREACHABLE
        ill = await scene.until(HealthState.UNHEALTHY, reason="connection refused")
        assert ill.reason == "cannot connect to it: connection refused"
        assert ill.since == scene.world.clock.now - 60_000, "it is ill since it fell ill"
        server.answer, server.refuses = OK, None
        await scene.until(HealthState.HEALTHY)
    told = [(record.getMessage(), record.agent) for record in caplog.records]
    assert told == [("an application is unhealthy", "web-1"), ("an application is healthy again", "web-1")]


async def test_checks_keep_their_interval(scene, autojump_clock):
    """Within a tenth, and the tick of a second."""
    await scene.register(health_interval=30)
    server = Server()
    async with running(scene, web_1=server):
        await scene.until(HealthState.HEALTHY)
        begin, before = trio.current_time(), len(server.seen)
        await trio.sleep(300)
    assert 8 <= len(server.seen) - before <= 12, trio.current_time() - begin


async def test_one_failure_is_repeated_before_it_counts(scene, autojump_clock):
    app = await scene.register(health_path="/", health_interval=60)
    server = Server(answers_once=SICK)
    async with running(scene, web_1=server):
        await scene.until(HealthState.HEALTHY)
        assert len(server.seen) == 4, "two checks: a channel and a request each"
        assert not scene.board.is_unhealthy(app, "web-1")


@pytest.mark.parametrize(
    ("uri", "options", "server", "reason"),
    [
        ("http://10.0.3.12:3000", {"health_path": "/"}, Server(answer=None), "no answer within 10 s"),
        (
            "http://10.0.3.12:3000",
            {"health_path": "/"},
            Server(answer=b"SSH-2.0-x\r\n\r\n"),
            "its first line is not",
        ),
        ("h2c://10.0.3.12:3000", {"health_path": "/"}, Server(answer=OK), ""),
        ("https://wiki.internal", {}, Server(tls=True), "there is no TLS with wiki.internal:443"),
        ("https://wiki.internal", {"health_path": "/"}, Server(tls=True), "there is no TLS with"),
        ("https://wiki.internal", {}, Server(answer=None), "no answer within 10 s"),
    ],
)
async def test_what_is_no_health(scene, autojump_clock, uri, options, server, reason):
    await scene.register(uri=uri, health_interval=10, **options)
    async with running(scene, web_1=server):
        assert reason in (await scene.until(HealthState.UNHEALTHY)).reason


async def test_a_certificate_that_is_trusted(scene, autojump_clock):
    await scene.register(uri="https://wiki.internal", health_path="/", ca_pem=CERT.decode())
    async with running(scene, web_1=Server(tls=True)):
        await scene.until(HealthState.HEALTHY)


async def test_a_server_that_offers_http2_and_is_asked_for_none(scene, autojump_clock):
    """This one cannot speak what it offers."""
    server = Server(tls=True, offers=("h2", "http/1.1"))
    wanted = {"uri": "https://wiki.internal", "health_path": "/", "ca_pem": CERT.decode()}
    await scene.register(**wanted)
    async with running(scene, web_1=server):
        await scene.until(HealthState.UNHEALTHY)
        await scene.register(**wanted, http1_only=True)
        await scene.until(HealthState.HEALTHY)


async def test_a_connection_is_enough_for_tcp(scene, autojump_clock):
    await scene.register(name="redis", uri="tcp://redis:6379", health_interval=5)
    server = Server()
    async with running(scene, web_1=server):
        await scene.until(HealthState.HEALTHY, name="redis")
        server.refuses = ErrorCode.UNREACHABLE
        await scene.until(HealthState.UNHEALTHY, name="redis")


async def test_a_busy_tunnel_says_nothing_about_the_application(scene, autojump_clock):
    await scene.register(health_path="/", health_interval=1)
    server = Server(refuses=ErrorCode.BACKLOG_FULL)
    async with running(scene, web_1=server):
        await trio.sleep(30)
        assert len(server.seen) > 10
        assert (await scene.view()).health["web-1"].state is HealthState.UNKNOWN


async def test_who_is_unhealthy_is_tried_last_and_gives_kept_connections_up(scene, autojump_clock):
    app = await scene.register(agents=("web-1", "web-2"), health_path="/", health_interval=5)
    ill, well = Server(answer=SICK), Server()
    async with running(scene, web_1=ill, web_2=well):
        await scene.until(HealthState.UNHEALTHY, "web-1")
        await scene.until(HealthState.HEALTHY, "web-2")
        assert (await scene.view()).overall_health is AppHealth.DEGRADED
        opened = [await scene.dialer.open(app) for _ in range(4)]
        assert {each.agent for each in opened} == {"web-2"}
        assert (scene.board.shuns(app, "web-1"), scene.board.shuns(app, "web-2")) == (True, False)
        well.answer = SICK
        await scene.until(HealthState.UNHEALTHY, "web-2")
        assert (scene.board.shuns(app, "web-1"), scene.board.shuns(app, "web-2")) == (False, False)
        opened += [await scene.dialer.open(app) for _ in range(4)]
        assert "web-1" in {each.agent for each in opened[4:]}, "nobody is left out for good"
        for each in opened:
            await each.stream.aclose()


async def test_what_was_found_is_forgotten_when_it_says_nothing_any_more(scene, autojump_clock):
    """The application is changed, disabled, or its agent goes."""
    app = await scene.register(health_path="/", health_interval=5)
    server = Server(answer=SICK)
    async with running(scene, web_1=server):
        await scene.until(HealthState.UNHEALTHY)
        changed = await scene.register(health_path="/other", health_interval=5)
        assert (await scene.view()).health["web-1"].state is HealthState.UNKNOWN
        assert (scene.board.is_unhealthy(app, "web-1"), scene.board.is_unhealthy(changed, "web-1")) == (
            True,
            False,
        )
        await scene.until(HealthState.UNHEALTHY)
        await scene.register(health_path="/other", health_interval=5, enabled=False)
        await trio.sleep(10)
        assert not scene.board.is_unhealthy(changed, "web-1")
        assert (await scene.view()).health["web-1"].state is HealthState.UNKNOWN
    await scene.register()
    view = await scene.view()
    assert (view.health, view.overall_health) == ({}, None), "nobody asks any more"


async def test_a_result_that_comes_too_late_is_not_noted(scene, autojump_clock):
    """The application was changed while the check ran."""
    app = await scene.register(health_path="/", health_interval=60)
    server = Server(answer=None)
    async with running(scene, web_1=server):
        await server.asked.wait()
        changed = await scene.register(health_path="/other", health_interval=60)
        await trio.sleep(25)
        assert not scene.board.is_unhealthy(app, "web-1")
        assert scene.board.is_unhealthy(changed, "web-1")


async def test_a_database_that_is_away_is_told_later(scene, autojump_clock, caplog):
    """What is known is checked on meanwhile."""
    app = await scene.register(health_path="/", health_interval=1)
    server = Server()
    async with running(scene, web_1=server):
        await scene.until(HealthState.HEALTHY)
        scene.database.is_away, server.answer = True, SICK
        await trio.sleep(60)
        assert scene.board.is_unhealthy(app, "web-1")
        scene.database.is_away = False
        assert (await scene.view()).health["web-1"].state is HealthState.HEALTHY
        await scene.until(HealthState.UNHEALTHY)
    assert "cannot store the health of an application" in caplog.text


async def test_the_database_is_written_when_something_has_changed(scene, autojump_clock):
    await scene.register(health_path="/", health_interval=1)
    async with running(scene, web_1=Server()):
        await scene.until(HealthState.HEALTHY)
        scene.database.write = None
        await trio.sleep(60)


async def test_a_check_that_fails_in_itself_ends_nothing(scene, autojump_clock, caplog):
    class Broken:
        count = 0

        async def failure(self, _app, _tunnel):
            self.count += 1
            raise ArithmeticError("a bug")

    scene.checks.probe = broken = Broken()
    await scene.register(health_interval=1)
    async with running(scene, web_1=Server()):
        await trio.sleep(20)
    assert broken.count > 5
    assert "a health check failed in itself" in caplog.text


async def test_only_so_many_at_once(scene, autojump_clock):
    """An application that answers nobody holds up no more than its share."""
    most = now = 0

    class Slow:
        async def failure(self, _app, _tunnel):
            nonlocal most, now
            now += 1
            most = max(most, now)
            await trio.sleep(9)
            now -= 1
            return ""

    scene.checks.probe = Slow()
    for number in range(40):
        await scene.register(name=f"app-{number}", uri="tcp://x:1", health_interval=1)
    async with running(scene, web_1=Server()):
        await trio.sleep(60)
    assert most == 32


def test_what_agents_say_is_one_line():
    assert printable("no\r\n\x1b[31mway" + "y" * 400) == "no???[31mway" + "y" * 288
