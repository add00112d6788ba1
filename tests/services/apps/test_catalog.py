# SPDX-License-Identifier: Apache-2.0
"""Applications as administrators manage them and users see them."""

import json

import attrs
import pytest

from mezite.core.apps.app import AppOptions
from mezite.core.secret import token_hash
from mezite.services.access.authorization import AccessContext
from mezite.services.access.live_access import LiveEntry, LiveKind
from mezite.services.apps.catalog import MAX_APPS, app_resource
from mezite.services.apps.registration import AppRegistration, AppsDomain
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError, UnauthenticatedError
from mezite.storage import app_sessions, apps, users
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.web_sessions import WebSessionKind
from tests.services.world import CLIENT

BY = {"by": "root", "client_address": CLIENT}
GRAFANA = AppRegistration(
    name="grafana",
    uri="http://10.0.3.12:3000",
    public_addr="grafana.apps.example.com",
    labels={"env": "prod"},
    agent_hostnames=("web-1",),
)
REDIS = AppRegistration(
    name="redis", uri="tcp://redis:6379", labels={"env": "dev"}, agent_hostnames=("web-1",)
)


async def register(world, registration=GRAFANA, **changes):
    return await world.apps.register(attrs.evolve(registration, **changes), **BY)


async def types(world):
    return [event["event_type"] for event in await world.events() if event["event_type"].startswith("app.")]


async def test_registering(world):
    await world.join("web-1")
    registered = await register(world)
    assert (registered.created, registered.warnings) == (True, ())
    assert registered.known == await world.apps.get("grafana")
    app = await world.apps.by_host("grafana.apps.example.com")
    assert app == registered.known.app == await world.apps.by_name("grafana")
    assert await world.apps.by_host("wiki.apps.example.com") is None
    (event,) = await world.events("app.created")
    assert (event["user_name"], event["resource_type"], event["resource_name"]) == ("root", "app", "grafana")
    assert (event["resource_labels"], event["uri"]) == ({"env": "prod"}, "http://10.0.3.12:3000")
    assert (event["agent_hostnames"], event["public_addr"]) == (["web-1"], "grafana.apps.example.com")


async def test_registering_again_replaces_and_keeps_agents_and_state(world):
    await register(world)
    await world.apps.set_enabled("grafana", False, **BY)
    again = await register(world, uri="http://10.0.3.13:3000", agent_hostnames=(), labels={})
    assert not again.created
    assert (again.known.app.agent_hostnames, again.known.app.enabled) == (("web-1",), False)
    assert (await world.apps.by_name("grafana")).labels == {}
    (event,) = await world.events("app.updated")
    assert event["changed"] == ["uri", "labels"]
    await register(world, uri="http://10.0.3.13:3000", agent_hostnames=(), labels={})
    assert await types(world) == ["app.created", "app.disabled", "app.updated"]


async def test_what_need_not_be_said(world):
    http = await register(world, public_addr="", agent_hostnames=("web-1",))
    assert (http.known.app.public_addr, http.known.app.protocol) == ("grafana.apps.example.com", "http")
    assert (await register(world, REDIS)).known.app.protocol == "tcp"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"name": "Grafana"}, "application name"),
        ({"uri": "10.0.3.12:3000"}, "write http://10.0.3.12:3000"),
        ({"public_addr": "apps.example.com"}, "the apps domain itself"),
        ({"public_addr": "grafana.example.com"}, r"use grafana\.apps\.example\.com"),
        ({"public_addr": "grafana.apps.example.com:443"}, r"use grafana\.apps\.example\.com"),
        ({"public_addr": "hub.apps.example.com"}, "the hub itself"),
        ({"public_addr": "a.b.apps.example.com"}, r"use a-b\.apps\.example\.com"),
        ({"uri": "tcp://redis:6379"}, "has no public address"),
        ({"protocol": "tcp"}, "does not go with"),
        ({"agent_hostnames": ("Web 1",)}, "node name"),
        ({"labels": {"": "x"}}, "label"),
        ({"options": AppOptions(ca_pem="x")}, "https:// only"),
        ({"uri": "https://g", "options": AppOptions(ca_pem="x")}, "cannot be read: give certificates in PEM"),
    ],
)
async def test_what_cannot_be_is_refused_with_the_reason(world, changes, why):
    with pytest.raises(InvalidRequestError, match=why):
        await register(world, **changes)
    assert await types(world) == []


async def test_without_an_apps_domain_nothing_is_registered(world):
    world.apps.domain = AppsDomain()
    for registration in (GRAFANA, REDIS):
        with pytest.raises(InvalidRequestError, match=r"proxy\.apps_domain"):
            await register(world, registration)


async def test_what_was_registered_under_a_domain_that_is_gone_opens_to_nobody(world):
    """Administrators see it, and can remove it."""
    await register(world, REDIS)
    alice = await world.user("alice")
    world.apps.domain = AppsDomain()
    assert await visible(world, alice) == []
    with pytest.raises(NotFoundError, match=r"proxy\.apps_domain"):
        await world.apps.by_name("redis")
    assert [known.app.name for known in await world.apps.list_apps()] == ["redis"]
    await world.apps.remove("redis", **BY)


async def test_a_public_address_is_one_applications(world):
    await register(world)
    with pytest.raises(ConflictError, match="belongs to application grafana"):
        await register(world, name="other")
    await register(world, name="other", public_addr="")
    with pytest.raises(ConflictError, match="belongs to application grafana"):
        await register(world, name="other")


async def test_there_is_room_for_so_many(world, monkeypatch):
    monkeypatch.setattr(apps, "count", lambda _conn: MAX_APPS)
    with pytest.raises(ConflictError, match="10000 applications"):
        await register(world)


async def test_warnings(world):
    await world.join("web-1")
    registered = await register(world, agent_hostnames=("web-1", "wbe-1", "zzz"))
    first, second = registered.warnings
    assert first.startswith("no node is called wbe-1 yet: did you mean web-1?; `mezctl nodes ls`")
    assert second.startswith("no node is called zzz yet; ")
    world.apps.domain = attrs.evolve(world.apps.domain, certificate_names=lambda: ("x.example.com",))
    unwise = await register(
        world,
        name="wiki",
        uri="https://wiki",
        public_addr="",
        agent_hostnames=(),
        options=AppOptions(insecure_skip_verify=True),
    )
    assert [warning.partition(":")[0] for warning in unwise.warnings] == [
        "the certificate for applications does not name wiki.apps.example.com",
        "the certificate of https",
        "no agent serves it, so nobody reaches it",
    ]
    world.apps.domain = attrs.evolve(world.apps.domain, certificate_names=None)
    assert (await register(world)).warnings == ()


async def test_agents_come_and_go(world):
    await world.join("web-2")
    await register(world)
    added = await world.apps.add_agent("grafana", "web-2", **BY)
    assert (added.known.app.agent_hostnames, added.warnings) == (("web-1", "web-2"), ())
    assert (await world.apps.add_agent("grafana", "web-2", **BY)).known == added.known
    left = await world.apps.rm_agent("grafana", "web-1", **BY)
    assert left.app.agent_hostnames == ("web-2",)
    assert (await world.apps.by_name("grafana")).agent_hostnames == ("web-2",)
    assert await types(world) == ["app.created", "app.updated", "app.updated"]
    with pytest.raises(NotFoundError, match="its agents are web-2"):
        await world.apps.rm_agent("grafana", "web-1", **BY)
    await world.apps.rm_agent("grafana", "web-2", **BY)
    with pytest.raises(NotFoundError, match="it has none"):
        await world.apps.rm_agent("grafana", "web-2", **BY)
    with pytest.raises(InvalidRequestError, match="node name"):
        await world.apps.add_agent("grafana", "Web 3", **BY)
    assert "no node is called web-9 yet" in (await world.apps.add_agent("grafana", "web-9", **BY)).warnings[0]


async def test_enabling_and_disabling(world):
    await register(world)
    for enabled in (False, False, True, True):
        known = await world.apps.set_enabled("grafana", enabled, **BY)
        assert known.app.enabled == enabled == (await world.apps.by_name("grafana")).enabled
    assert await types(world) == ["app.created", "app.disabled", "app.enabled"]


async def test_removing(world):
    await register(world)
    await world.apps.remove("grafana", **BY)
    assert await world.apps.by_host("grafana.apps.example.com") is None
    assert await types(world) == ["app.created", "app.deleted"]


@pytest.mark.parametrize("change", ["remove", "move"])
async def test_what_was_shown_for_one_application_is_not_for_the_next_at_its_host(world, change):
    """Threats D18, E8: sessions are of a host, and a host may become another application's."""
    await register(world)
    await world.user("alice")
    alice = await world.database.read(users.get, name="alice")
    started = await world.login.start(alice, None, client_address=CLIENT, kind=WebSessionKind.WEB)
    session = AppSessionRow(
        id="s-1",
        token_hash=token_hash("x" * 64),
        host="grafana.apps.example.com",
        user_name="alice",
        web_session=token_hash(started.token.reveal()),
        factor="webauthn",
        client_ip=CLIENT,
        created_at=world.clock.now,
        expires_at=world.clock.now + 1000,
        idle_ms=1000,
        ends_at=world.clock.now + 1000,
    )
    await world.database.write(app_sessions.insert, session=session)
    await register(world, labels={"env": "other"})
    assert (await world.authenticator.by_app_session("x" * 64, session.host))[1] == session
    if change == "remove":
        await world.apps.remove("grafana", **BY)
    else:
        await register(world, public_addr="graphs.apps.example.com")
    await register(world, name="payroll", public_addr=session.host)
    with pytest.raises(UnauthenticatedError):
        await world.authenticator.by_app_session("x" * 64, session.host)


async def test_what_does_not_exist(world):
    await register(world)
    calls = [
        world.apps.by_name("grafanna"),
        world.apps.set_enabled("grafanna", True, **BY),
        world.apps.add_agent("grafanna", "web-1", **BY),
        world.apps.remove("grafanna", **BY),
    ]
    for call in calls:
        with pytest.raises(NotFoundError, match="grafanna does not exist: did you mean grafana"):
            await call


async def role(world, **spec):
    document = {"kind": "role", "version": "v1", "metadata": {"name": "apps"}, "spec": spec}
    await world.roles.put(json.dumps(document), by="root", client_address=CLIENT)


async def visible(world, identity):
    return [app.name for app in await world.apps.visible_to(identity, client_address=CLIENT)]


async def test_everybody_sees_what_they_may_use(world):
    await register(world)
    await register(world, REDIS)
    await role(world, allow={"app_labels": {"env": "prod"}})
    assert await visible(world, await world.user("alice")) == ["grafana", "redis"]
    assert await visible(world, await world.user("bob", roles=("apps",))) == ["grafana"]
    assert await visible(world, await world.user("carol", roles=("auditor",))) == []
    await world.apps.set_enabled("grafana", False, **BY)
    assert await visible(world, await world.session("bob")) == ["grafana"]


async def test_a_tcp_application_that_would_be_refused_is_not_listed(world):
    await register(world, REDIS)
    await role(world, allow={"app_labels": {"*": "*"}}, options={"require_trusted_device": True})
    assert await visible(world, await world.user("bob", roles=("apps",))) == []


def entry(identity, app):
    return LiveEntry(
        kind=LiveKind.WEBSOCKET,
        identity=identity,
        verb="apps.connect",
        resource=app_resource(app),
        context=AccessContext(client_address=CLIENT, decision_id="d"),
    )


@pytest.mark.parametrize("change", ["disable", "remove", "labels"])
async def test_what_runs_on_an_application_is_cut_when_it_may_no_more(world, change):
    """Threat E14; the hub that made the change cuts as well as any other."""
    await register(world)
    await register(world, name="wiki", public_addr="")
    await role(world, allow={"app_labels": {"env": "prod"}})
    await world.watch.look()
    identity = await world.user("bob", roles=("apps",))
    cut = entry(identity, await world.apps.by_name("grafana"))
    other = entry(identity, await world.apps.by_name("wiki"))
    with world.live.hold(cut), world.live.hold(other):
        if change == "disable":
            await world.apps.set_enabled("grafana", False, **BY)
        elif change == "remove":
            await world.apps.remove("grafana", **BY)
        else:
            await register(world, labels={"env": "secret"})
        await world.watch.look()
        reasons = {"disable": "is disabled", "remove": "was removed", "labels": "no role allows"}
        assert reasons[change] in cut.reason
        assert other.reason == ""
