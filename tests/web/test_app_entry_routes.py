# SPDX-License-Identifier: Apache-2.0
"""A browser passes the hub on its way to an application (threats D18, D19, D23)."""

import re

import attrs
import pytest

from mezite.core.rbac.locks import LockTarget
from mezite.storage import apps
from mezite.web.app_entry_pages import POLICY
from tests.services.apps.world import GRAFANA, HOST, TARGET, WIKI
from tests.services.world import CLIENT
from tests.web.browser import browsing, document, make_app
from tests.web.test_browser_session import cookie, log_in

CODE = re.compile(r'<input type="hidden" name="code" value="([0-9a-f]{64})">')


@attrs.define
class Hub:
    """The web application, and ways through it."""

    world: object
    app: object
    logins: object

    async def key(self, target=TARGET):
        begun = await self.logins.begin(HOST, target, browser_secret=None, client_address=CLIENT)
        return begun.url.rpartition("/")[2]


async def make_hub(world, **options):
    await world.user("alice")
    for number, app in enumerate((GRAFANA, WIKI)):
        await world.database.write(apps.insert, app=app, revision=f"r-{number}", now=world.clock.now)
    app, services = make_app(world, **options)
    return Hub(world, app, services.app_logins)


@pytest.fixture
async def hub(world):
    return await make_hub(world)


async def visit(hub, path, *headers):
    async with browsing(hub.app) as browser:
        return await browser.send("GET", path, b"", *headers)


async def session(hub):
    async with browsing(hub.app) as browser:
        return (await log_in(browser))[0]


async def test_the_first_page_asks_again_from_this_very_site(hub):
    """A cookie with SameSite=Strict does not come along from another host."""
    key = await hub.key()
    answer = await visit(hub, f"/apps/enter/{key}")
    assert answer.status == 200
    assert f'href="/apps/enter/{key}?again=1"' in answer.body.decode()
    assert answer.header(b"content-security-policy").decode() == POLICY
    assert "script-src 'self'" in POLICY
    assert answer.header(b"referrer-policy") == b"no-referrer"


async def test_nobody_is_led_to_the_login_page(hub):
    key = await hub.key()
    answer = await visit(hub, f"/apps/enter/{key}?again=1")
    assert (answer.status, answer.header(b"location").decode()) == (303, f"/apps/enter#{key}")
    stale = await visit(hub, f"/apps/enter/{key}?again=1", cookie("0" * 64))
    assert stale.header(b"location").decode() == f"/apps/enter#{key}"


async def test_nobody_is_led_to_the_connector(world):
    hub = await make_hub(world, apps_connector="corp sso")
    key = await hub.key()
    answer = await visit(hub, f"/apps/enter/{key}?again=1")
    assert answer.header(b"location").decode() == (
        f"/v1/webapi/sso/corp%20sso/start?return_to=%2Fapps%2Fenter%2F{key}%3Fagain%3D1"
    )


async def test_somebody_is_handed_over_once(hub):
    key, secret = await hub.key(), await session(hub)
    answer = await visit(hub, f"/apps/enter/{key}", cookie(secret))
    page = answer.body.decode()
    assert answer.status == 200
    assert f'<form id="onward" method="post" action="https://{HOST}/.mezite/enter">' in page
    assert CODE.search(page)
    assert "<script src=" in page
    assert "Continue to grafana" in page
    again = await visit(hub, f"/apps/enter/{key}", cookie(secret))
    assert again.status == 400
    assert b"open the application again" in again.body


async def test_who_may_not_reads_why(hub):
    key, secret = await hub.key(), await session(hub)
    await hub.world.accounts.update("alice", roles=(), traits=None, by="root")
    answer = await visit(hub, f"/apps/enter/{key}", cookie(secret))
    assert answer.status == 403
    (event,) = await hub.world.events("access.denied")
    assert event["id"] in answer.body.decode()


async def test_somebody_with_a_lock(hub):
    root = await hub.world.user("root", roles=("admin",))
    key, secret = await hub.key(), await session(hub)
    await hub.world.locks.create(LockTarget.USER, "alice", message="lost", by=root, client_address=CLIENT)
    answer = await visit(hub, f"/apps/enter/{key}", cookie(secret))
    assert answer.status == 403
    assert b"lost" in answer.body


@pytest.mark.parametrize(
    "key", ["0" * 64, "x", "%22%3E%3Cscript%3E", "..%2F..%2Fetc", "https:%2F%2Fevil.example"]
)
async def test_keys_that_are_none_d19(hub, key):
    secret = await session(hub)
    for path in (f"/apps/enter/{key}", f"/apps/enter/{key}?again=1"):
        answer = await visit(hub, path, cookie(secret))
        assert answer.status in (400, 404), path
        assert b"<script>" not in answer.body
    nobody = await visit(hub, f"/apps/enter/{key}")
    assert nobody.header(b"location") is None
    assert b"<script>" not in nobody.body


async def test_what_the_page_of_the_web_app_asks(hub):
    key = await hub.key()
    async with browsing(hub.app) as browser:
        secret, csrf = await log_in(browser)
        own = cookie(secret), ("x-mezite-csrf", csrf)
        answer = await browser.post(f"apps/entries/{key}", {}, *own)
        assert document(answer) == {"app": "grafana"}
        gone = await browser.post(f"apps/entries/{'0' * 64}", {}, *own)
    assert gone.status == 400
