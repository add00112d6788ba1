# SPDX-License-Identifier: Apache-2.0
"""Signing in through a connector with a browser, as the browser sees it."""

import hashlib
import json
import re
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest

from tests.services.sso.identity_provider import FakeGithub, FakeOidc, serving
from tests.services.world import CLIENT, SSH_PUBLIC_LINE, TLS_PUBLIC_PEM
from tests.web.browser import API, Browser, browsing, document, failure, make_app

VERIFIER = "v" * 43
CALLBACK = "http://127.0.0.1:40000/" + "r" * 32
PROGRAM = {
    "connector": "idp",
    "challenge": hashlib.sha256(VERIFIER.encode()).hexdigest(),
    "ssh_public_key": SSH_PUBLIC_LINE,
    "tls_public_key_pem": TLS_PUBLIC_PEM.decode(),
}


def set_cookies(response) -> dict[str, str]:
    """Whole Set-Cookie fields by the cookie's name."""
    lines = [value.decode() for name, value in response.headers if name == b"set-cookie"]
    return {line.partition("=")[0]: line for line in lines}


@attrs.define
class Person:
    """A browser with its cookies, and the provider it goes to."""

    browser: Browser
    provider: FakeOidc | FakeGithub
    cookies: dict[str, str] = attrs.field(factory=dict)

    async def get(self, path: str, *headers):
        return self.keep(await self.browser.send("GET", path, b"", *self.fields(), *headers))

    async def submit(self, path: str, *headers, **fields: str):
        kind = ("content-type", "application/x-www-form-urlencoded")
        body = urlencode(fields).encode()
        return self.keep(await self.browser.send("POST", path, body, kind, *self.fields(), *headers))

    def fields(self):
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return [("cookie", pairs)] if pairs else []

    def keep(self, response):
        for name, line in set_cookies(response).items():
            self.cookies[name] = line.partition("=")[2].partition(";")[0]
        return response

    async def sign_in(self, start: str, callback: str = "oidc"):
        """From the start to what the callback answers."""
        there = await self.get(start)
        assert there.status == 303, there.body
        back = self.provider.authorize(there.header(b"location").decode())
        return await self.get(f"{API}{callback}/callback?{urlencode(back)}")


@asynccontextmanager
async def person_of(world, kind=FakeOidc, **spec):
    async with serving(kind, lambda: world.clock.now // 1000) as provider:
        app, services = make_app(world)
        await services.sso.catalog.put(
            json.dumps(provider.document(**spec)), by="root", client_address=CLIENT
        )
        async with browsing(app) as browser:
            yield Person(browser, provider)


@pytest.fixture
async def person(world):
    async with person_of(world) as person:
        yield person


def text(response) -> str:
    return response.body.decode()


async def test_connectors_are_listed_for_everybody(person):
    assert document(await person.get(API + "ping"))["connectors"] == [
        {"name": "idp", "kind": "oidc", "display_name": "idp"}
    ]


async def test_a_browser_signs_in(world, person):
    there = await person.get(f"{API}sso/idp/start?return_to=/nodes?a=b%26c")
    assert there.status == 303
    (cookie,) = set_cookies(there).values()
    assert re.fullmatch(
        r"__Host-mezite_sso=[0-9a-f]{64}; Path=/; Max-Age=600; HttpOnly; Secure; SameSite=Lax", cookie
    )
    back = person.provider.authorize(there.header(b"location").decode())
    page = await person.get(f"{API}oidc/callback?{urlencode(back)}")
    assert page.status == 200
    assert '<meta http-equiv="refresh" content="0;url=/nodes?a=b&amp;c">' in text(page)
    assert "script-src" not in page.header(b"content-security-policy").decode()
    session = set_cookies(page)["mezite_session"]
    assert session.endswith("HttpOnly; Secure; SameSite=Strict")
    # The cookie is a browser's: it is good for what browsers send.
    listed = await person.get(API + "sessions", ("sec-fetch-site", "same-origin"))
    assert listed.status == 200
    assert person.cookies["mezite_session"] not in text(page)


async def test_a_second_login_ends_the_session_before(person):
    await person.sign_in(f"{API}sso/idp/start")
    first = person.cookies["mezite_session"]
    await person.sign_in(f"{API}sso/idp/start")
    assert person.cookies["mezite_session"] != first
    person.cookies["mezite_session"] = first
    assert (await person.get(API + "sessions", ("sec-fetch-site", "same-origin"))).status == 401


async def test_github(world):
    async with person_of(world, FakeGithub) as person:
        page = await person.sign_in(f"{API}sso/github/start", "github")
        assert (page.status, "You are OctoCat" in text(page)) == (200, True)


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "/a#b"])
async def test_another_site_is_no_way_back(person, path):
    """Threat D19; the corpus is in tests/core/oidc/test_return_path.py."""
    answer = await person.get(f"{API}sso/idp/start?{urlencode({'return_to': path})}")
    assert (answer.status, answer.header(b"location")) == (400, None)
    assert "return_to is not a path on this host" in text(answer)


async def test_refusals_are_pages_without_scripts(world, person):
    """Threat D19: what comes from elsewhere is shown as text."""
    evil = "<script>alert(1)</script>"
    there = await person.get(f"{API}sso/idp/start")
    state = parse_qs(urlsplit(there.header(b"location").decode()).query)["state"][0]
    back = urlencode({"state": state, "iss": person.provider.url, "error": evil, "error_description": evil})
    page = await person.get(f"{API}oidc/callback?{back}")
    assert page.status == 401
    assert "<script" not in text(page)
    assert "&lt;script&gt;" in text(page)
    assert page.header(b"content-type") == b"text/html; charset=utf-8"
    (event,) = await world.events("user.login.failed")
    assert event["id"] in text(page)
    assert evil in event["error_message"]


async def test_a_callback_without_a_beginning(person):
    for path in ("oidc/callback", "oidc/callback?state=x&code=y", "github/callback?code=y"):
        page = await person.get(API + path)
        assert (page.status, "was not begun in this browser" in text(page)) == (401, True)
    assert "mezite_session" not in person.cookies


async def test_a_cookie_that_is_not_ours_is_none(person):
    for value in ("short", "x" * 64 + "; __Host-mezite_sso=" + "y" * 64):
        person.cookies = {"__Host-mezite_sso": value}
        await person.get(f"{API}sso/idp/start")
        assert re.fullmatch("[0-9a-f]{64}", person.cookies["__Host-mezite_sso"])


async def test_an_unknown_connector(person):
    page = await person.get(f"{API}sso/nobody/start")
    assert (page.status, "connector nobody does not exist" in text(page)) == (404, True)


async def begin(person, **changes):
    return document(await person.browser.post("sso/client/begin", {**PROGRAM, **changes}))


async def finish(person, begun, code=""):
    body = {"login": begun["login"], "verifier": VERIFIER, "code": code}
    return await person.browser.post("sso/client/finish", body)


async def test_a_program_with_a_browser(person):
    begun = await begin(person, callback_url=CALLBACK)
    assert begun["url"] == f"https://hub.example.com{API}sso/idp/start?login={begun['login']}"
    assert (begun["user_code"], begun["interval_seconds"]) == ("", 2)
    assert document(await finish(person, begun)) == {"status": "pending"}
    back = await person.sign_in(begun["url"].removeprefix("https://hub.example.com"))
    address, _, code = back.header(b"location").decode().partition("?code=")
    assert (back.status, address) == (303, CALLBACK)
    assert "mezite_session" not in person.cookies
    issued = document(await finish(person, begun, code))
    assert (issued["status"], issued["user"], issued["logins"]) == ("done", "alice", ["alice"])
    assert issued["ssh_certificate"].startswith("ssh-ed25519-cert-v01@openssh.com ")
    assert failure(await finish(person, begun, code))[0] == 404


async def test_a_program_without_a_browser(person):
    begun = await begin(person)
    assert begun["url"] == "https://hub.example.com/sso/device"
    form = await person.get("/sso/device")
    assert '<form method="get" action="/sso/device">' in text(form)
    page = text(await person.get(f"/sso/device?code={begun['user_code'].lower()}"))
    assert CLIENT in page
    assert begun["user_code"] in page
    start = re.search('href="(/v1[^"]*)"', page)[1].replace("&amp;", "&")
    question = text(await person.sign_in(start))
    assert "It will act as alice" in question
    token = re.search('name="token" value="([0-9a-f]{64})"', question)[1]
    done = await person.submit(
        f"{API}sso/device/decide", ("sec-fetch-site", "same-origin"), token=token, answer="allow"
    )
    assert (done.status, "goes on by itself" in text(done)) == (200, True)
    assert document(await finish(person, begun))["user"] == "alice"


async def question_of(person):
    begun = await begin(person)
    question = text(await person.sign_in(f"{API}sso/idp/start?login={begun['login']}"))
    return begun, re.search('name="token" value="([0-9a-f]{64})"', question)[1]


async def test_a_program_that_nobody_knows(person):
    begun, token = await question_of(person)
    no = await person.submit(f"{API}sso/device/decide", token=token, answer="refuse")
    assert (no.status, "gets nothing" in text(no)) == (200, True)
    assert "did not allow" in failure(await finish(person, begun))[1]


@pytest.mark.parametrize(
    ("headers", "fields", "status"),
    [
        ([("sec-fetch-site", "cross-site")], {}, 403),
        ([("origin", "https://evil.example")], {}, 403),
        ([], {"token": "0" * 64}, 401),
        ([], {"more": "x"}, 400),
        ([("cookie", "")], {}, 401),
    ],
)
async def test_an_answer_that_somebody_else_gives(person, headers, fields, status):
    """Threat D21."""
    begun, token = await question_of(person)
    if ("cookie", "") in headers:
        headers, person.cookies = [], {}
    given = {"token": token, "answer": "allow", **fields}
    assert (await person.submit(f"{API}sso/device/decide", *headers, **given)).status == status
    assert document(await finish(person, begun)) == {"status": "pending"}


@pytest.mark.parametrize("body", [b"", b"token", b"token=x", b"%ff=x&answer=allow", b"token=x&answer=y&a=b"])
async def test_forms_that_are_none(person, body):
    kind = ("content-type", "application/x-www-form-urlencoded")
    answer = await person.browser.send("POST", f"{API}sso/device/decide", body, kind)
    assert answer.status == 400
    answer = await person.browser.send(
        "POST", f"{API}sso/device/decide", body, ("content-type", "text/plain")
    )
    assert answer.status == 400


async def test_a_sign_in_for_a_program_belongs_to_its_connector(person):
    begun = await begin(person)
    assert (await person.get(f"{API}sso/other/start?login={begun['login']}")).status == 400
    assert (await person.get(f"{API}sso/other/start?code={begun['user_code']}")).status == 400
    assert (await person.get(f"{API}sso/idp/start?login=unknown")).status == 404
    assert (await person.get("/sso/device?code=BCDF-GHJK")).status == 404


async def test_the_pages_have_their_style(person):
    sheet = re.search('rel="stylesheet" href="([^"]*)"', text(await person.get("/sso/device")))[1]
    answer = await person.get(sheet)
    assert (answer.status, answer.header(b"content-type")) == (200, b"text/css; charset=utf-8")
