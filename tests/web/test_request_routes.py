# SPDX-License-Identifier: Apache-2.0
"""Access requests through the web API."""

import json

import pytest

from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.roles import Conditions, Role
from tests.services.world import CLIENT, HOUR, SSH_PUBLIC_LINE, START, TLS_PUBLIC_PEM
from tests.web.browser import API, browsing, document, failure, make_app

WANTED = {"roles": ["auditor"], "reason": "incident 4711", "ttl_seconds": 3600}


@pytest.fixture
async def app(world):
    role = Role(name="developer", allow=Conditions(request_roles=("auditor",)))
    await world.roles.put(json.dumps(role_document(role)), by="root", client_address=CLIENT)
    await world.user("alice", ("developer",))
    await world.user("root", ("admin",))
    return make_app(world)[0]


async def test_the_whole_way(world, app):
    async with browsing(app) as browser:
        alice, root = await world.token("alice"), await world.token("root")
        browser.token = alice
        made = document(await browser.post("requests", WANTED))
        assert (made["user"], made["state"], made["reviews"]) == ("alice", "pending", [])
        assert document(await browser.get("requests"))["requests"] == [made]
        browser.token = root
        review = await browser.post(f"requests/{made['id']}/review", {"approve": True})
        approved = document(review)
        assert (approved["state"], approved["ends_at_ms"]) == ("approved", START + HOUR)
        assert approved["reviews"][0]["reviewer"] == "root"
        assert document(await browser.get("requests?state=denied"))["requests"] == []
        browser.token = alice
        keys = {"ssh_public_key": SSH_PUBLIC_LINE, "tls_public_key_pem": TLS_PUBLIC_PEM.decode()}
        issued = document(await browser.post("certificates", {**keys, "request_ids": [made["id"]]}))
        assert (issued["roles"], issued["request_ids"]) == (["developer", "auditor"], [made["id"]])
        ended = await browser.send("DELETE", f"{API}requests/{made['id']}")
        assert document(ended)["state"] == "revoked"


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        ({}, 400, "'reason' is missing"),
        ({"reason": "r", "roles": "auditor"}, 400, "not of type list"),
        ({"reason": "r", "roles": [1]}, 400, "not a list of texts"),
        ({"reason": "r", "roles": ["a\0"]}, 400, "not a list of texts"),
        ({"reason": "r", "roles": ["admin"]}, 403, "request_roles"),
    ],
)
async def test_what_is_refused(world, app, body, status, why):
    async with browsing(app) as browser:
        browser.token = await world.token("alice")
        answer = await browser.post("requests", body)
    found, message = failure(answer)
    assert found == status
    assert why in message
