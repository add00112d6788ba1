# SPDX-License-Identifier: Apache-2.0
"""`GET apps`: what the launcher shows."""

import pytest

from mezite.services.apps.registration import AppRegistration
from tests.services.world import CLIENT
from tests.web.browser import browsing, document, make_app


@pytest.mark.parametrize(("role", "names"), [("access", ["grafana", "redis"]), ("auditor", [])])
async def test_everybody_gets_what_they_may_use(world, role, names):
    for name, uri in (("grafana", "http://10.0.3.12:3000"), ("redis", "tcp://redis:6379")):
        registration = AppRegistration(name=name, uri=uri, labels={"env": "prod"})
        await world.apps.register(registration, by="root", client_address=CLIENT)
    await world.user("alice", roles=(role,))
    async with browsing(make_app(world)[0], await world.token("alice")) as browser:
        apps = document(await browser.get("apps"))["apps"]
    assert [app["name"] for app in apps] == names
    if names:
        assert apps[0] == {
            "name": "grafana",
            "protocol": "http",
            "url": "https://grafana.apps.example.com",
            "public_addr": "grafana.apps.example.com",
            "labels": {"env": "prod"},
            "status": "no_agents",
            "health": None,
        }
        assert (apps[1]["url"], apps[1]["public_addr"]) == (None, None)
