# SPDX-License-Identifier: Apache-2.0
"""Sessions in a cookie: how they begin, what they may do, how they end, and that no other site rides on them."""

import pytest

from mezite.core.cookies import seal_of
from mezite.storage import users
from mezite.storage.web_sessions import WebSessionKind
from tests.services.world import HOUR, PASSWORD, START
from tests.web.browser import API, browsing, document, failure, make_app
from tests.web.test_app import CERTIFICATES

ALICE = {"username": "alice", "password": PASSWORD, "cookie": True}


@pytest.fixture
async def app(world):
    await world.user("alice")
    return make_app(world)[0]


async def log_in(browser, *headers):
    """The secret in the cookie, and the CSRF token."""
    answer = await browser.post("login", ALICE, *headers)
    assert answer.status == 200, answer.body
    return secret_of(answer), document(answer)["csrf_token"]


def secret_of(answer):
    name, _, value = answer.header(b"set-cookie").decode().partition(";")[0].partition("=")
    assert name == "mezite_session"
    return value


def cookie(secret):
    return "cookie", f"mezite_session={secret}"


def sealed(secret):
    """As browsers send it."""
    return "cookie", f"mezite_session={secret}; __Host-mezite_seal={seal_of(secret)}"


async def test_a_login_of_a_browser(world, app):
    """The secret is in the cookie only, and the cookie is out of reach of scripts and other sites (contract)."""
    async with browsing(app) as browser:
        answer = await browser.post("login", ALICE)
        body = document(answer)
        secret = secret_of(answer)
        assert set(body) == {"user", "roles", "expires_at_ms", "csrf_token"}
        assert secret not in answer.body.decode()
        assert answer.header(b"set-cookie").decode() == (
            f"mezite_session={secret}; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict"
        )
        known = document(await browser.get("me", cookie(secret)))
    assert known["csrf_token"] == body["csrf_token"]
    assert (known["user"], known["roles"], known["expires_at_ms"]) == ("alice", ["access"], START + 12 * HOUR)
    assert body["csrf_token"] not in secret


async def test_a_program_has_no_csrf_token(world, app):
    async with browsing(app, await world.token("alice")) as browser:
        answer = await browser.get("me")
        assert "csrf_token" not in document(answer)
        assert (await browser.post("certificates", CERTIFICATES)).status == 200
        out = await browser.send("POST", API + "logout")
    assert (out.status, out.header(b"set-cookie")) == (200, None)


async def test_what_changes_something_needs_the_token(world, app):
    """Threat D21: the cookie alone only reads."""
    async with browsing(app) as browser:
        secret, token = await log_in(browser)
        _, other = await log_in(browser)
        assert other != token
        for wrong in (None, "", token[:-1], token + "0", other):
            headers = [] if wrong is None else [("x-mezite-csrf", wrong)]
            status, message = failure(
                await browser.post("certificates", CERTIFICATES, cookie(secret), *headers)
            )
            assert status == 403, wrong
            assert "reload the page" in message
        with_token = [cookie(secret), ("x-mezite-csrf", token)]
        assert (await browser.post("certificates", CERTIFICATES, *with_token)).status == 200
    denied = await world.events("authz.denied")
    assert {(event["user_name"], event["verb"]) for event in denied} == {("alice", "self.certificates.issue")}
    assert len(denied) == 5


@pytest.mark.parametrize(
    ("headers", "reads", "changes"),
    [
        ({"sec-fetch-site": "same-origin"}, 200, 200),
        ({"sec-fetch-site": "same-origin", "origin": "https://hub.example.com"}, 200, 200),
        ({"sec-fetch-site": "none"}, 200, 403),
        ({"sec-fetch-site": "same-site"}, 403, 403),
        ({"sec-fetch-site": "cross-site"}, 403, 403),
        ({"sec-fetch-site": "cross-site", "origin": "https://hub.example.com"}, 403, 403),
        ({"sec-fetch-site": ""}, 403, 403),
        ({"origin": "https://hub.example.com"}, 200, 200),
        ({"origin": "https://HUB.example.com:443"}, 200, 200),
        ({"origin": "http://hub.example.com:80"}, 200, 200),
        ({"origin": "https://app.hub.example.com"}, 403, 403),
        ({"origin": "https://hub.example.com.evil.example"}, 403, 403),
        ({"origin": "https://hub.example.com:8443"}, 403, 403),
        ({"origin": "null"}, 403, 403),
        ({"origin": ""}, 403, 403),
    ],
)
async def test_what_the_browser_says_of_the_origin(world, app, headers, reads, changes):
    """Threat D21, the second line: even with cookie and token."""
    async with browsing(app) as browser:
        secret, token = await log_in(browser)
        shown = [sealed(secret), ("x-mezite-csrf", token), *headers.items()]
        assert (await browser.get("me", *shown)).status == reads
        assert (await browser.post("certificates", CERTIFICATES, *shown)).status == changes


async def test_another_site_cannot_log_somebody_in(app):
    async with browsing(app) as browser:
        answer = await browser.post("login", ALICE, ("sec-fetch-site", "cross-site"))
        assert (answer.status, answer.header(b"set-cookie")) == (403, None)
        form = await browser.send("POST", API + "login", b"{}", ("content-type", "text/plain"))
        assert form.status == 400


async def test_a_login_ends_the_session_before_it(world, app):
    """Rotation: what was in the browser before is worth nothing afterwards."""
    async with browsing(app) as browser:
        first, _ = await log_in(browser)
        second, _ = await log_in(browser, cookie(first))
        assert (await browser.get("me", cookie(first))).status == 401
        assert (await browser.get("me", cookie(second))).status == 200
        # Only what is a browser's session: a program's secret in a cookie is a mistake, not a session.
        program = await world.token("alice")
        await log_in(browser, cookie(program))
        await log_in(browser, cookie("0" * 64))
    assert (await world.authenticator.by_session(program)).name == "alice"
    assert len(await world.events("user.logout")) == 1


async def test_a_failed_login_ends_nothing(app):
    async with browsing(app) as browser:
        secret, _ = await log_in(browser)
        answer = await browser.post("login", {**ALICE, "password": "wrong"}, cookie(secret))
        assert (answer.status, answer.header(b"set-cookie")) == (401, None)
        assert (await browser.get("me", cookie(secret))).status == 200


async def test_logging_out(app):
    async with browsing(app) as browser:
        secret, token = await log_in(browser)
        assert (await browser.send("POST", API + "logout", b"", cookie(secret))).status == 403
        answer = await browser.send("POST", API + "logout", b"", cookie(secret), ("x-mezite-csrf", token))
        assert document(answer) == {"ended": True}
        gone = [value.partition(b"; HttpOnly")[0] for name, value in answer.headers if name == b"set-cookie"]
        assert gone == [
            f"{name}=; Path=/; Max-Age=0".encode() for name in ("mezite_session", "__Host-mezite_seal")
        ]
        assert (await browser.get("me", cookie(secret))).status == 401


async def test_a_secret_is_good_only_where_it_belongs(world, app):
    """A cookie's secret is no bearer token, and the other way round."""
    program = await world.token("alice")
    async with browsing(app) as browser:
        secret, token = await log_in(browser)
        assert (await browser.get("me", ("authorization", f"Bearer {secret}"))).status == 401
        assert (await browser.get("me", cookie(program), ("x-mezite-csrf", token))).status == 401
        # Who sends both is whom the field names, or nobody.
        for field in ("Bearer wrong", "Basic x", ""):
            assert (await browser.get("me", cookie(secret), ("authorization", field))).status == 401, field
        assert "csrf_token" not in document(
            await browser.get("me", cookie(secret), ("authorization", f"Bearer {program}"))
        )


async def test_two_cookies_of_our_name_are_none(app):
    """Threat D17: one of them may be a sibling site's."""
    async with browsing(app) as browser:
        secret, _ = await log_in(browser)
        for line in (
            f"mezite_session={secret}; mezite_session={secret}",
            f"mezite_session=x; mezite_session={secret}",
            f"mezite_session={secret} ",
            f"Mezite_session={secret}",
            f'mezite_session="{secret}"',
        ):
            assert (await browser.get("me", ("cookie", f"{line};"))).status == 401, line
        assert (await browser.get("me", cookie(secret), ("cookie", "mezite_session=x"))).status == 401
        assert (await browser.get("me", ("cookie", f"a=1; mezite_session={secret}; b=2"))).status == 200


async def test_a_session_that_a_sibling_has_set(world, app):
    """Threat D17: a page of an application below the same domain sets the cookie of the attacker's own session."""
    await world.user("mallory")
    page = ("sec-fetch-site", "same-origin")
    async with browsing(app) as browser:
        theirs = secret_of(await browser.post("login", {**ALICE, "username": "mallory"}))
        answer = await browser.post("login", ALICE)
        secret = secret_of(answer)
        seals = [value for name, value in answer.headers if name == b"set-cookie"][1:]
        assert seals == [
            f"__Host-mezite_seal={seal_of(secret)}; Path=/; Max-Age=43200; HttpOnly; Secure; SameSite=Strict".encode()
        ]
        # Who is nobody does not become mallory, and alice stays who she is.
        assert (await browser.get("me", cookie(theirs), page)).status == 401
        tossed = ("cookie", f"mezite_session={theirs}")
        assert document(await browser.get("me", tossed, sealed(secret), page))["user"] == "alice"


async def test_a_disabled_user_has_no_session(world, app):
    """Threat E6."""
    async with browsing(app) as browser:
        secret, _ = await log_in(browser)
        await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
        assert (await browser.get("me", cookie(secret))).status == 401


async def test_the_list_of_sessions(world, app):
    await world.user("bob")
    theirs = await world.token("bob")
    async with browsing(app) as browser:
        secret, token = await log_in(browser)
        shown = [cookie(secret), ("x-mezite-csrf", token)]
        listed = document(await browser.get("sessions", *shown))["sessions"]
        assert sorted((one["kind"], one["this"]) for one in listed) == [("api", False), ("web", True)]
        assert {one["client_ip"] for one in listed} == {"192.0.2.7:50000"}
        assert secret not in str(listed)
        mine = {one["kind"]: one["id"] for one in listed}
        other, *_ = document(await browser.get("sessions", ("authorization", f"Bearer {theirs}")))["sessions"]
        for unknown in (other["id"], "0" * 32, "x", mine["web"][:-1], mine["web"].upper() + "0"):
            gone = await browser.send("DELETE", f"{API}sessions/{unknown}", b"", *shown)
            assert gone.status == 404, unknown
        assert (await browser.send("DELETE", f"{API}sessions/{mine['api']}", b"", shown[0])).status == 403
        ended = await browser.send("DELETE", f"{API}sessions/{mine['api']}", b"", *shown)
        assert document(ended) == {"ended": True}
        assert (await browser.send("DELETE", f"{API}sessions/{mine['api']}", b"", *shown)).status == 404
        assert len(document(await browser.get("sessions", *shown))["sessions"]) == 1
        await browser.send("DELETE", f"{API}sessions/{mine['web']}", b"", *shown)
        assert (await browser.get("me", *shown)).status == 401
        assert (await browser.get("me", ("authorization", f"Bearer {theirs}"))).status == 200
    assert [event["user_name"] for event in await world.events("user.logout")] == ["alice", "alice"]


async def test_the_kind_of_a_stored_session(world, app):
    async with browsing(app) as browser:
        secret, _ = await log_in(browser)
    identity = await world.authenticator.by_session(secret, WebSessionKind.WEB)
    assert identity.name == "alice"
