# SPDX-License-Identifier: Apache-2.0
"""Who gets through to an application, and what the others are told (threats D11, D16, D17, D18, D21, E14)."""

import json
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import attrs
import pytest
import trio
import trio.testing

from mezite.core.http1.host_table import HostTable
from mezite.core.rbac.locks import LockTarget
from mezite.handlers.app_gate import AppGate
from mezite.handlers.app_own_pages import AppOwnPages
from mezite.handlers.app_visit import COOKIE, STATE_COOKIE
from mezite.handlers.web_front import HostRouter, WebFront, rules_by_host
from mezite.net.http1_client import Http1ClientError, request
from mezite.net.http1_websocket import ACCEPT
from mezite.net.websocket_upgrade import UpgradeError, open_websocket
from mezite.services.apps.admission import AppAdmission
from mezite.services.apps.session_memory import AppSessionMemory
from mezite.services.audit_log import AuditUnavailableError
from mezite.storage import web_sessions
from tests.services.apps.world import GRAFANA, HOST, OTHER_HOST, WIKI, AppWorld, open_app_world
from tests.services.world import CLIENT, copy_template, make_template, open_world

OWN, WIKIS, EVIL = f"https://{HOST}", f"https://{OTHER_HOST}", "https://evil.apps.example.com"
NAVIGATION = [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document"), ("accept", "text/html")]
FETCH = [("sec-fetch-mode", "cors"), ("accept", "text/html")]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("gate") / "template.db"
    trio.run(make_template, path)
    return path


@attrs.define(eq=False)
class Site:
    """Two applications behind a gate; what gets through is noted, and answered by the test."""

    apps: AppWorld
    front: WebFront = None
    seen: list = attrs.field(factory=list)
    state: dict = attrs.field(factory=dict)
    seconds: float = 0.0
    why_cut: str = ""
    go_on: trio.Event = attrs.field(factory=trio.Event)
    begun: trio.Event = attrs.field(factory=trio.Event)

    async def forward(self, app, identity, scope, receive, send):
        """Stands in for the proxy."""
        self.seen.append((app.name, identity.name, scope["path"]))
        self.state = scope["state"]
        if scope["type"] == "websocket":
            socket = await scope["extensions"][ACCEPT]()
            await socket.send("hello")
            self.begun.set()
            await socket.receive()
            return
        path = scope["path"]
        if path == "/held":
            self.begun.set()
            try:
                await self.go_on.wait()
            finally:
                self.why_cut = scope["state"]["why_cut"]()
        headers = [(b"access-control-allow-origin", b"*"), (b"x-app", b"1"), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": path == "/stream"})
        if path == "/stream":
            self.begun.set()
            await trio.sleep_forever()

    @asynccontextmanager
    async def connection(self):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.front.serve, theirs, "https", CLIENT, "127.0.0.1:3080")
            yield ours
            nursery.cancel_scope.cancel()

    async def ask(self, path="/", headers=(), *, method="GET", host=HOST, cookies=(), body=b""):
        sent = [*headers, *(("cookie", cookie) for cookie in cookies)]
        async with self.connection() as stream:
            return await request(stream, method, path, sent, body, host=host)

    async def enter(self, name="alice", host=HOST, path="/"):
        """The whole way as a browser goes it, without the hub's pages; the session's cookie."""
        away = await self.ask(path, NAVIGATION, host=host)
        assert away.status == 303
        key = urlsplit(location(away)).path.rpartition("/")[2]
        way_back = await self.apps.logins.enter(await self.apps.web_session(name), key, client_address=CLIENT)
        back = await self.post_code(way_back.code.reveal(), [cookie_of(away)], host)
        assert back.status == 303, back.body
        return cookie_of(back)

    async def post_code(self, code, cookies, host=HOST):
        headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", "null"), *NAVIGATION]
        return await self.ask(
            "/.mezite/enter",
            headers,
            method="POST",
            host=host,
            cookies=cookies,
            body=b"code=" + code.encode(),
        )


@pytest.fixture
async def site(template, tmp_path):
    async with open_world(copy_template(template, tmp_path)) as world:
        await world.user()
        apps = await open_app_world(world)
        site = Site(apps)
        gate = AppGate(
            app_at=apps.app_at,
            forward=site.forward,
            pages=AppOwnPages(logins=apps.logins, sessions=apps.sessions, authenticator=world.authenticator),
            authenticator=world.authenticator,
            admission=AppAdmission(audit=world.audit),
            sessions=apps.sessions,
            memory=AppSessionMemory(
                authenticator=world.authenticator,
                sessions=apps.sessions,
                sources=world.sources,
                clock=lambda: site.seconds,
            ),
            live=world.live,
        )

        async def hub(_scope, _receive, _send):
            raise AssertionError("nothing here is for the hub")

        hosts = HostTable(names=frozenset({"hub.example.com"}), apps_domain="apps.example.com")
        site.front = WebFront(
            app=HostRouter(hosts=hosts, hub=hub, applications=gate), rules_of=rules_by_host(hosts)
        )
        yield site


def location(answer):
    return answer.header(b"location").decode()


def cookie_of(answer):
    return answer.header(b"set-cookie").decode().partition(";")[0]


def error_of(answer):
    assert answer.header(b"content-type") == b"application/json"
    return json.loads(answer.body)["error"]


async def test_the_way_there_and_back_to_the_letter(site):
    away = await site.ask("/a%2Fb/c?x=1&y=%20;z", NAVIGATION, host=f"{HOST}:8443")
    assert away.status == 303
    assert location(away).startswith("https://hub.example.com/apps/enter/")
    assert HOST not in location(away)
    state = away.header(b"set-cookie").decode()
    assert state.startswith(f"{STATE_COOKIE}=")
    assert state.endswith("; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=None")
    assert site.seen == []

    key = location(away).rpartition("/")[2]
    way_back = await site.apps.logins.enter(await site.apps.web_session(), key, client_address=CLIENT)
    assert way_back.url == f"https://{HOST}:8443/.mezite/enter"
    back = await site.post_code(way_back.code.reveal(), [cookie_of(away)])
    assert (back.status, location(back)) == (303, f"https://{HOST}:8443/a%2Fb/c?x=1&y=%20;z")
    kept = back.header(b"set-cookie").decode()
    assert kept.startswith(f"{COOKIE}=")
    assert kept.endswith("; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Lax")
    # Threat D23: what opens something is in no address, and no address is passed on.
    assert way_back.code.reveal() not in location(away) + location(back)
    assert back.header(b"referrer-policy") == away.header(b"referrer-policy") == b"no-referrer"

    answer = await site.ask("/d", NAVIGATION, cookies=[cookie_of(back)])
    assert (answer.status, answer.body) == (200, b"first")
    assert site.seen == [("grafana", "alice", "/d")]


async def test_a_path_that_looks_like_another_host_d19(site):
    away = await site.ask("//evil.example/", NAVIGATION)
    key = location(away).rpartition("/")[2]
    way_back = await site.apps.logins.enter(await site.apps.web_session(), key, client_address=CLIENT)
    back = await site.post_code(way_back.code.reveal(), [cookie_of(away)])
    assert location(back) == f"{OWN}//evil.example/"


async def test_who_fetches_is_told_and_never_redirected(site):
    for headers in (
        FETCH,
        [("accept", "*/*")],
        [],
        [("x-requested-with", "XMLHttpRequest"), ("accept", "text/html")],
    ):
        answer = await site.ask("/api", headers)
        assert answer.status == 401
        assert answer.header(b"location") is None
        assert answer.header(b"set-cookie") is None
        error = error_of(answer)
        assert (error["code"], error["login_url"]) == ("login_required", f"{OWN}/.mezite/login")
    posted = await site.ask("/form", NAVIGATION, method="POST", body=b"x")
    assert posted.status == 401
    assert b"did not arrive" in posted.body
    framed = await site.ask("/", [*NAVIGATION[:1], ("sec-fetch-dest", "iframe"), ("accept", "text/html")])
    assert framed.status == 401
    assert f'<a href="{OWN}/.mezite/login" target="_top">'.encode() in framed.body
    async with site.connection() as stream:
        with pytest.raises(UpgradeError) as refused:
            await open_websocket(stream, HOST, "/ws", headers=[("origin", OWN)])
    assert refused.value.status == 401
    assert site.seen == []


async def test_the_login_page_of_an_application(site):
    answer = await site.ask("/.mezite/login", NAVIGATION)
    assert answer.status == 303
    assert location(answer).startswith("https://hub.example.com/apps/enter/")


async def test_the_cookie_of_a_browser_with_several_tabs_is_kept(site):
    first = await site.ask("/1", NAVIGATION)
    second = await site.ask("/2", NAVIGATION, cookies=[cookie_of(first)])
    assert cookie_of(first) == cookie_of(second)
    odd = await site.ask("/3", NAVIGATION, cookies=[f"{STATE_COOKIE}=short"])
    assert len(cookie_of(odd)) == len(cookie_of(first))


async def test_hosts_and_applications_that_are_not_served(site):
    answer = await site.ask("/", host="nosuch.apps.example.com")
    assert answer.status == 404
    assert "no application at nosuch.apps.example.com" in error_of(answer)["message"]
    site.apps.apps[HOST] = attrs.evolve(GRAFANA, enabled=False)
    assert (await site.ask("/", NAVIGATION)).status == 503
    assert (await site.ask("/.mezite/nothing")).status == 404
    async with site.connection() as stream:
        with pytest.raises(UpgradeError) as refused:
            await open_websocket(stream, HOST, "/.mezite/enter", headers=[("origin", OWN)])
    assert refused.value.status == 404


async def test_cookies_that_are_no_session_d17(site):
    cookie = await site.enter()
    wikis = await site.enter(host=OTHER_HOST)
    name, _, value = cookie.partition("=")
    for cookies in (
        [f"{cookie}; {cookie}"],
        [cookie, f"{name}=other"],
        [f"{name}={value}x"],
        [f"{name}={value[:-1]}"],
        [f"{name}="],
        [f"a=b;  {name}={value}"],
        [f"{name} ={value}"],
        [f"{name.lower()}={value}"],
        [wikis],
        [f"={cookie}"],
    ):
        answer = await site.ask("/", FETCH, cookies=cookies)
        assert answer.status == 401, cookies
    assert site.seen == []
    assert (await site.ask("/", FETCH, cookies=[f"a=b; {cookie}; c"])).status == 200


async def test_codes_that_are_refused_d18(site):
    away = await site.ask("/", NAVIGATION)
    key = location(away).rpartition("/")[2]
    alice = await site.apps.web_session()
    code = (await site.apps.logins.enter(alice, key, client_address=CLIENT)).code.reveal()
    stranger = await site.post_code(code, [])
    assert stranger.status == 403
    assert stranger.header(b"set-cookie") is None
    assert b"open the application again" in stranger.body
    assert f'href="{OWN}/"'.encode() in stranger.body
    assert (await site.post_code(code, [cookie_of(away)])).status == 403
    assert [event["error_message"] for event in await site.apps.world.events("app.login.failed")] == [
        "the code is for another browser",
        "the code is used",
    ]


@pytest.mark.parametrize(
    "body", [b"", b"code=", b"code=xyz", b"code=" + b"0" * 2000, b"a=b&code=" + b"A" * 64, b"\xff"]
)
async def test_forms_that_are_none(site, body):
    answer = await site.ask("/.mezite/enter", NAVIGATION, method="POST", body=body)
    assert answer.status == 400
    assert b"not the form" in answer.body


async def test_a_form_without_an_end(site, autojump_clock):
    head = f"POST /.mezite/enter HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 900\r\n\r\ncode="
    async with site.connection() as stream:
        await stream.send_all(head.encode())
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 400 ")


async def test_the_form_is_not_there_to_be_read(site):
    answer = await site.ask("/.mezite/enter", NAVIGATION)
    assert (answer.status, location(answer)) == (303, f"{OWN}/")


async def test_who_may_not_is_told_with_the_event(site):
    world = site.apps.world
    cookie = await site.enter()
    await world.accounts.update("alice", roles=("auditor",), traits=None, by="root", client_address=CLIENT)
    answer = await site.ask("/", FETCH, cookies=[cookie])
    assert answer.status == 403
    (event,) = await world.events("access.denied")
    assert error_of(answer)["event_id"] == event["id"]
    assert (event["user_name"], event["resource_name"]) == ("alice", "grafana")
    page = await site.ask("/", NAVIGATION, cookies=[cookie])
    assert (page.status, page.header(b"content-type")) == (403, b"text/html; charset=utf-8")
    assert site.seen == []


async def test_a_lock_is_told_e14(site):
    root = await site.apps.world.user("root", roles=("admin",))
    cookie = await site.enter()
    await site.apps.world.locks.create(
        LockTarget.USER, "alice", message="lost laptop", by=root, client_address=CLIENT
    )
    answer = await site.ask("/", FETCH, cookies=[cookie])
    assert answer.status == 403
    assert "lost laptop" in error_of(answer)["message"]


async def test_a_sibling_that_asks_in_somebodys_name_d16_d21(site):
    cookie = await site.enter()
    for headers in (
        [("origin", EVIL), ("sec-fetch-site", "same-site"), *NAVIGATION],
        [("origin", EVIL), ("sec-fetch-site", "same-site"), *FETCH],
        [("origin", "null")],
        [("origin", WIKIS)],
        [("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
    ):
        for method in ("POST", "GET"):
            answer = await site.ask("/admin", headers, method=method, cookies=[cookie])
            assert answer.status == 403, (method, headers)
            assert answer.header(b"access-control-allow-origin") is None
    assert site.seen == []
    linked = await site.ask("/", [("sec-fetch-site", "same-site"), *NAVIGATION], cookies=[cookie])
    assert linked.status == 200


async def test_an_application_that_may_be_called_from_another(site):
    """wiki lets grafana's pages call it."""
    asking = [
        ("origin", OWN),
        ("access-control-request-method", "PUT"),
        ("access-control-request-headers", "x-a,x-b"),
    ]
    told = await site.ask("/api", asking, method="OPTIONS", host=OTHER_HOST)
    assert (told.status, told.body) == (204, b"")
    shown = {
        name: value for name, value in told.headers if name.startswith(b"access-control") or name == b"vary"
    }
    assert shown == {
        b"access-control-allow-origin": OWN.encode(),
        b"access-control-allow-credentials": b"true",
        b"access-control-allow-methods": b"PUT",
        b"access-control-allow-headers": b"x-a,x-b",
        b"access-control-max-age": b"600",
        b"vary": b"Origin",
    }
    for host, origin in ((OTHER_HOST, EVIL), (HOST, WIKIS), (OTHER_HOST, "null")):
        refused = await site.ask("/api", [("origin", origin), *asking[1:]], method="OPTIONS", host=host)
        assert refused.status == 403
        assert error_of(refused)["code"] == "foreign_origin"
        assert refused.header(b"access-control-allow-origin") is None
    assert site.seen == []

    calling = [("origin", OWN), ("sec-fetch-site", "same-site"), *FETCH]
    nobody = await site.ask("/api", calling, host=OTHER_HOST)
    assert nobody.status == 401
    assert nobody.header(b"access-control-allow-origin") == OWN.encode()
    cookie = await site.enter(host=OTHER_HOST)
    answer = await site.ask("/api", calling, method="PUT", host=OTHER_HOST, cookies=[cookie])
    assert answer.status == 200
    origins = [value for name, value in answer.headers if name == b"access-control-allow-origin"]
    assert origins == [OWN.encode()]
    assert answer.header(b"x-app") == b"1"
    own = await site.ask("/api", [("origin", WIKIS)], host=OTHER_HOST, cookies=[cookie])
    assert own.header(b"access-control-allow-origin") == b"*"


async def test_an_option_that_is_no_preflight_is_the_applications(site):
    cookie = await site.enter()
    assert (await site.ask("/", [], method="OPTIONS", cookies=[cookie])).status == 200


async def test_websockets_of_other_pages_d11(site):
    cookie, wikis = await site.enter(), await site.enter(host=OTHER_HOST)
    for origins in ([EVIL], [], [WIKIS], [OWN, OWN], ["null"], [f"http://{HOST}"]):
        headers = [("cookie", cookie), *(("origin", origin) for origin in origins)]
        async with site.connection() as stream:
            with pytest.raises(UpgradeError) as refused:
                await open_websocket(stream, HOST, "/ws", headers=headers)
        assert refused.value.status == 403, origins
    assert site.seen == []
    for host, kept in ((HOST, cookie), (OTHER_HOST, wikis)):
        async with site.connection() as stream:
            socket = await open_websocket(stream, host, "/ws", headers=[("cookie", kept), ("origin", OWN)])
            assert await socket.receive_message(100) == "hello"


async def begun(site, nursery, cookie, path):
    """A request that goes on, and what becomes of it."""
    outcome = []

    async def ask():
        try:
            outcome.append((await site.ask(path, FETCH, cookies=[cookie])).status)
        except* Http1ClientError:
            outcome.append("broken off")

    nursery.start_soon(ask)
    await site.begun.wait()
    return outcome


@pytest.mark.parametrize("path", ["/stream", "/held"])
@pytest.mark.parametrize("how", ["logout", "revoked", "lock"])
async def test_what_is_in_flight_is_cut_e14(site, how, path):
    world = site.apps.world
    root = await world.user("root", roles=("admin",))
    cookie = await site.enter()
    (session,) = await site.apps.sessions.listed()
    async with trio.open_nursery() as nursery:
        outcome = await begun(site, nursery, cookie, path)
        if how == "logout":
            await world.database.write(
                web_sessions.revoke, token_hash=session.web_session, now=world.clock.now
            )
        elif how == "revoked":
            await site.apps.sessions.end(session.id, by=root, client_address=CLIENT)
        else:
            await world.locks.create(LockTarget.USER, "alice", message="x", by=root, client_address=CLIENT)
        await world.watch.look()
    assert world.live.entries() == []
    assert outcome == [403 if path == "/held" else "broken off"]
    assert bool(site.why_cut) == (path == "/held")


async def test_an_open_websocket_is_cut_e14(site):
    world = site.apps.world
    root = await world.user("root", roles=("admin",))
    cookie = await site.enter()
    (session,) = await site.apps.sessions.listed()
    async with site.connection() as stream:
        socket = await open_websocket(stream, HOST, "/ws", headers=[("cookie", cookie), ("origin", OWN)])
        assert await socket.receive_message(100) == "hello"
        await site.apps.sessions.end(session.id, by=root, client_address=CLIENT)
        await world.watch.look()
        with pytest.raises(trio.BrokenResourceError):
            await read_on(socket)


async def read_on(socket):
    while await socket.receive():
        pass


async def test_leaving(site):
    cookie = await site.enter()
    page = await site.ask("/.mezite/logout", NAVIGATION, cookies=[cookie])
    assert page.status == 200
    assert b"You are alice here" in page.body
    assert len(await site.apps.sessions.listed()) == 1
    # Threat D21: no other page ends it.
    foreign = [("origin", EVIL), ("sec-fetch-site", "same-site"), *NAVIGATION]
    assert (await site.ask("/.mezite/logout", foreign, method="POST", cookies=[cookie])).status == 403
    own = [("origin", OWN), ("sec-fetch-site", "same-origin"), *NAVIGATION]
    for _ in range(2):
        left = await site.ask("/.mezite/logout", own, method="POST", cookies=[cookie])
        assert left.status == 200
        assert b"You have left grafana" in left.body
        assert b'href="https://hub.example.com/"' in left.body
    assert await site.apps.sessions.listed() == []
    assert (await site.ask("/", FETCH, cookies=[cookie])).status == 401
    (event,) = await site.apps.world.events("app.logout")
    assert event["user_name"] == "alice"


async def test_what_is_passed_on_besides(site):
    """The proxy ends what is silent for too long, and writes down by which decision it was let through."""
    document = {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": "hasty"},
        "spec": {"options": {"idle_timeout": "2m"}, "allow": {"app_labels": {"*": "*"}}},
    }
    await site.apps.put_role(document)
    await site.apps.world.user("hal", roles=("hasty",))
    cookie = await site.enter("hal")
    assert (await site.ask("/", FETCH, cookies=[cookie])).status == 200
    assert site.state["idle_timeout"] == 120
    assert site.state["decision_id"]


async def test_a_factor_that_roles_ask_for_meanwhile_e8(site):
    """Whoever has not shown it gets no further, and is led to where it is shown."""
    document = {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": "careful"},
        "spec": {"options": {}, "allow": {"app_labels": {"*": "*"}}},
    }
    await site.apps.put_role(document)
    await site.apps.world.user("ida", roles=("careful",))
    cookie = await site.enter("ida")
    assert (await site.ask("/", FETCH, cookies=[cookie])).status == 200
    document["spec"]["options"] = {"require_session_mfa": "any"}
    await site.apps.put_role(document)
    site.seconds += 0.5
    assert (await site.ask("/api", FETCH, cookies=[cookie])).status == 401
    away = await site.ask("/page", NAVIGATION, cookies=[cookie])
    assert away.status == 303
    assert location(away).startswith("https://hub.example.com/apps/enter/")
    assert len(site.seen) == 1


async def test_one_user_does_not_take_everything(site, monkeypatch):
    """Threat B2: channels of a tunnel are for everybody behind it."""
    monkeypatch.setattr("mezite.handlers.app_gate.MAX_OF_ONE_USER", 1)
    await site.apps.world.user("bob")
    alice, bob = await site.enter(), await site.enter("bob")
    async with trio.open_nursery() as nursery:
        outcome = await begun(site, nursery, alice, "/held")
        refused = await site.ask("/", FETCH, cookies=[alice])
        assert (refused.status, "close some of them" in refused.body.decode()) == (429, True)
        assert (await site.ask("/", FETCH, cookies=[bob])).status == 200
        site.go_on.set()
    assert outcome == [200]
    assert (await site.ask("/", FETCH, cookies=[alice])).status == 200


async def test_without_a_record_nothing_is_done(site):
    world = site.apps.world
    cookie = await site.enter()
    await world.accounts.update("alice", roles=(), traits=None, by="root", client_address=CLIENT)

    async def unavailable(*_arguments, **_fields):
        raise AuditUnavailableError("no space left")

    world.audit.emit = unavailable
    assert (await site.ask("/", FETCH, cookies=[cookie])).status == 503


def test_the_applications_of_the_tests():
    assert WIKI.options.cors_origins == (OWN,)
