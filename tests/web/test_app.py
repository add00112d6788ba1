# SPDX-License-Identifier: Apache-2.0
"""The web API through the HTTP front."""

import logging

import pytest

from mezite import __version__
from mezite.services.access.verb_registry import DoorKind, VerbRegistry
from mezite.storage import users
from mezite.web.app import MAX_BODY
from mezite.web.route_table import RouteTable
from tests.services.test_audit_log import break_database
from tests.services.world import (
    CLUSTER,
    HOUR,
    PASSWORD,
    SSH_PUBLIC_LINE,
    START,
    TLS_PUBLIC_PEM,
    certificate_der,
)
from tests.web.browser import API, browsing, document, failure, make_app

JWKS = "/workload-identity/app-jwt-jwks.json"
CERTIFICATES = {"ssh_public_key": SSH_PUBLIC_LINE, "tls_public_key_pem": TLS_PUBLIC_PEM.decode()}


@pytest.fixture
async def app(world):
    return make_app(world)[0]


async def test_ping_needs_no_credential(world, app):
    async with browsing(app) as browser:
        answer = await browser.get("ping")
    assert (answer.status, document(answer)) == (
        200,
        {
            "cluster_name": CLUSTER,
            "version": __version__,
            "server_time_ms": START,
            "addresses": {"web": "hub.example.com:443", "ssh": "hub.example.com:3023"},
            "host_ca_pin": f"sha256:{world.authorities.host_pin}",
            "connectors": [],
            "capabilities": {"tunnel_websocket": True},
        },
    )


async def test_a_host_header_changes_nothing(world, app):
    """Threat D7: what we say of ourselves comes from the configuration."""
    async with browsing(app) as browser:
        forwarded = [("x-forwarded-host", "evil.example"), ("x-forwarded-for", "198.51.100.9")]
        answer = await browser.get("ping", *forwarded)
        assert "evil" not in str(document(answer))
        await browser.post("login", {"username": "x", "password": "y"}, *forwarded)
    assert (await world.events("user.login.failed"))[0]["client_ip"] == "192.0.2.7"


async def test_the_ca(world, app):
    async with browsing(app) as browser:
        offered = document(await browser.get("ca"))
        assert offered["host_tls_ca_pem"] == world.authorities.host_tls_ca_pem
        (listed,) = offered["trust"]
        assert set(listed["signatures"]) == {world.authorities.host_pin}


async def test_from_a_password_to_certificates_and_out(world, app):
    await world.user("alice")
    async with browsing(app) as browser:
        session = document(await browser.post("login", {"username": "alice", "password": PASSWORD}))
        assert (session["user"], session["roles"]) == ("alice", ["access"])
        assert session["expires_at_ms"] == START + 12 * HOUR
        browser.token = session["session"]
        issued = document(await browser.post("certificates", {**CERTIFICATES, "ttl_seconds": 3600}))
        assert (issued["user"], issued["logins"], issued["cluster_name"]) == ("alice", ["ubuntu"], CLUSTER)
        assert issued["expires_at_ms"] == START + HOUR
        assert issued["ssh_host_ca"] == world.authorities.host_ssh_ca_lines
        peer = world.authorities.verify_client(certificate_der(issued["tls_certificate_pem"]), now=START)
        assert peer.name == "alice"
        assert document(await browser.send("POST", API + "logout")) == {"ended": True}
        assert (await browser.send("POST", API + "logout")).status == 401
    assert [event["user_name"] for event in await world.events("user.logout")] == ["alice"]


async def test_a_wrong_password(world, app):
    await world.user("alice")
    async with browsing(app) as browser:
        for name in ("alice", "nobody"):
            answer = await browser.post("login", {"username": name, "password": "wrong"})
            status, message = failure(answer)
            assert (status, message.startswith("wrong user name or password")) == (401, True)
            event = (await world.events("user.login.failed"))[-1]
            assert document(answer)["error"]["event_id"] == event["id"]


async def test_an_invite(world, app):
    created = await world.accounts.create("carol", roles=(), traits={}, by="root")
    token = created.invite_token.reveal()
    async with browsing(app) as browser:
        short = await browser.post("invites/accept", {"token": token, "password": "short"})
        assert failure(short) == (400, "the password has 5 characters; at least 12 are needed")
        accepted = await browser.post("invites/accept", {"token": token, "password": PASSWORD})
        assert document(accepted) == {"user": "carol"}
        again = await browser.post("invites/accept", {"token": token, "password": PASSWORD})
        assert failure(again) == (401, "the invite is used: ask for a new one")


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic {token}",
        "{token}",
        "Bearer {token}0",
        "Bearer  {token}",
        "Bearer {token} x",
        "Bearer, {token}",
    ],
)
async def test_credentials_that_are_none(world, app, header):
    await world.user("alice")
    token = await world.token("alice")
    headers = [] if header is None else [("authorization", header.format(token=token))]
    async with browsing(app) as browser:
        answer = await browser.send("POST", API + "logout", b"", *headers)
    assert failure(answer)[0] == 401
    assert (await world.authenticator.by_session(token)).name == "alice"


async def test_cookies_are_no_credential(world, app):
    """Another site can make a browser send them (threat D20)."""
    await world.user("alice")
    token = await world.token("alice")
    async with browsing(app) as browser:
        answer = await browser.send(
            "POST", API + "logout", b"", ("cookie", f"mezite_session={token}; session={token}")
        )
        assert answer.status == 401
        ping = await browser.get("ping", ("cookie", f"mezite_session={token}"))
    for each in (answer, ping):
        assert each.header(b"set-cookie") is None
        assert each.header(b"access-control-allow-origin") is None


async def test_a_disabled_user(world, app):
    """Threat E6."""
    await world.user("alice")
    token = await world.token("alice")
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    async with browsing(app, token) as browser:
        assert failure(await browser.post("certificates", CERTIFICATES)) == (
            401,
            "user alice is disabled: ask an administrator",
        )


async def test_who_may_not_is_told_and_audited(world):
    """No route of today needs more than a session; this one is made for the test."""
    verbs = VerbRegistry()
    app, services = make_app(world, verbs)

    async def handler(identity):
        return {"user": identity.name}

    table = RouteTable(
        app,
        verbs,
        authenticator=services.authenticator,
        audit=services.audit,
        sources=services.sources,
        refusals=services.refusals,
    )
    table.private("GET", f"{API}users", handler, "users.list", "user")
    assert verbs.door(DoorKind.ROUTE, f"GET {API}users").verb == "users.list"
    await world.user("alice")
    await world.user("root", roles=("admin",))
    async with browsing(app, await world.token("root")) as browser:
        assert document(await browser.get("users")) == {"user": "root"}
    async with browsing(app, await world.token("alice")) as browser:
        answer = await browser.get("users")
    status, message = failure(answer)
    assert status == 403
    (event,) = await world.events("authz.denied")
    assert f"(event {event['id']})" in message
    assert document(answer)["error"]["event_id"] == event["id"]
    assert (event["user_name"], event["verb"], event["client_ip"]) == ("alice", "users.list", "192.0.2.7")


async def test_without_an_audit_log_nobody_gets_in(world, app):
    """Threat H7."""
    await world.user("alice")
    await break_database(world, "ALTER TABLE audit_events RENAME TO hidden")
    async with browsing(app) as browser:
        answer = await browser.post("login", {"username": "alice", "password": PASSWORD})
    status, message = failure(answer)
    assert (status, "nothing is done" in message) == (503, True)
    assert b"session" not in answer.body


async def test_an_error_of_ours_says_no_more_than_where_to_look(world, app, caplog):
    """Threat H6: a traceback is for the log."""
    await world.database.aclose()
    with caplog.at_level(logging.ERROR, "mezite.web"):
        async with browsing(app) as browser:
            answer = await browser.post("login", {"username": "alice", "password": PASSWORD})
    status, message = failure(answer)
    assert status == 500
    assert "closed" not in message
    (record,) = caplog.records
    assert message.rpartition(" ")[2] in record.getMessage()
    assert record.exc_info is not None
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/webapi/nothing", 404),
        ("GET", "/v1/webapi/ping/", 404),
        ("GET", "/static/x", 404),
        ("GET", "/v1/webapi/login", 405),
        ("POST", "/v1/webapi/ping", 405),
        ("PUT", "/v1/webapi/login", 405),
        ("DELETE", "/v1/webapi/logout", 405),
        ("OPTIONS", "/v1/webapi/login", 405),
        ("OPTIONS", "/v1/webapi/ping", 405),
    ],
)
async def test_what_is_no_route(world, app, method, path, status):
    async with browsing(app) as browser:
        answer = await browser.send(method, path)
    assert failure(answer)[0] == status


async def test_a_person_who_mistypes_an_address_gets_a_page(world, app):
    """A page for who looks at it, with nothing of the address in it (D19); programs get what they always get."""
    looks = [("accept", "text/html,application/xhtml+xml,*/*;q=0.8")]
    async with browsing(app) as browser:
        answer = await browser.send("GET", "/accounts/<b>factors", b"", *looks)
        assert answer.status == 404
        assert answer.header(b"content-type") == b"text/html; charset=utf-8"
        assert b"There is no such page" in answer.body
        assert b"factors" not in answer.body
        for headers, path in ((looks, API + "nothing"), ([("accept", "*/*")], "/nothing")):
            answer = await browser.send("GET", path, b"", *headers)
            assert failure(answer)[0] == 404


async def test_every_answer_is_guarded(world, app):
    """Threat D23: whatever the status."""
    await world.user("alice")
    async with browsing(app) as browser:
        answers = [
            await browser.get("ping"),
            await browser.get("nothing"),
            await browser.post("login", {"username": "alice", "password": PASSWORD}),
            await browser.post("login", {}),
            await browser.send("POST", API + "logout"),
            await browser.send("GET", "/"),
        ]
    assert {answer.status for answer in answers} == {200, 400, 401, 404}
    for answer in answers:
        assert answer.header(b"cache-control") == b"no-store"
        assert answer.header(b"x-content-type-options") == b"nosniff"
        assert answer.header(b"referrer-policy") == b"no-referrer"
        assert answer.header(b"strict-transport-security") == b"max-age=31536000"
        policy = answer.header(b"content-security-policy")
        assert b"default-src 'none'" in policy
        assert b"frame-ancestors 'none'" in policy
        assert b"unsafe" not in policy


async def test_a_body_that_is_too_large(world, app):
    async with browsing(app) as browser:
        answer = await browser.post("login", {"username": "x", "password": "y" * MAX_BODY})
    assert answer.status == 413
    assert await world.events() == []


async def test_the_address_of_the_client_is_never_empty(world, app):
    """Threat C3."""
    for client, shown in (("[2001:db8::1]:4711", "2001:db8::1"), ("unknown:0", "unknown")):
        async with browsing(app, client=client) as browser:
            await browser.post("login", {"username": "x", "password": "y"})
        assert (await world.events("user.login.failed"))[-1]["client_ip"].startswith(shown)


async def test_what_a_login_cannot_hold(world, app):
    """Names that no user can have are wrong, not an error of ours."""
    async with browsing(app) as browser:
        for name in ("", "x" * 5000, "ü", "a b", "'; DROP TABLE users; --"):
            answer = await browser.post("login", {"username": name, "password": "y"})
            assert failure(answer)[0] == 401, name


async def test_the_keys_of_assertions_may_be_kept(world, app):
    """Contract section 5: the next one is there before it is used, and a copy may be an hour old."""
    async with browsing(app) as browser:
        answer = await browser.send("GET", JWKS)
        assert answer.header(b"cache-control") == b"public, max-age=3600"
        assert len(document(answer)["keys"]) == 2
        tag = answer.header(b"etag")
        again = await browser.send("GET", JWKS, b"", ("if-none-match", tag.decode()))
        assert (again.status, again.body, again.header(b"etag")) == (304, b"", tag)
        assert again.header(b"cache-control") == b"public, max-age=3600"
        other = await browser.send("GET", JWKS, b"", ("if-none-match", '"other"'))
        assert (other.status, other.body) == (200, answer.body)
        assert (await browser.get("ca")).header(b"cache-control") == b"no-store"


@pytest.mark.parametrize(
    "path", ["sso/a%00b/start", "sso/idp/start?return_to=%00", "sso/idp/start?login=%00"]
)
async def test_an_address_with_a_nul_is_asked_of_no_database(app, path):
    """Threat P20: PostgreSQL fails at what SQLite takes for a name like any other."""
    async with browsing(app) as browser:
        assert (await browser.get(path)).status == 400
