# SPDX-License-Identifier: Apache-2.0
"""Signing in through a provider that behaves."""

import json

import attrs
import pytest
import trio

from mezite.core.oidc.connector import ConnectorKind
from mezite.core.rbac.locks import LockTarget
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.errors import (
    InvalidRequestError,
    LockedError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.login.password_login import LoginRefusedError
from mezite.services.sso import login as module
from mezite.services.sso.login import ROUND_TRIP_MS, CameBack
from mezite.storage import sso_identities, users, web_sessions
from mezite.storage.web_sessions import WebSessionKind
from tests.services.sso.identity_provider import FakeGithub, FakeOidc, Reply, serving
from tests.services.sso.world import Visitor, asked_of, connect, open_world_sso
from tests.services.world import CLIENT, PASSWORD


@pytest.fixture
async def idp(world):
    async with serving(FakeOidc, lambda: world.clock.now // 1000) as idp:
        yield idp


@pytest.fixture
async def sso(world, idp):
    sso = open_world_sso(world)
    await connect(sso, idp)
    return sso


@pytest.fixture
def visitor(sso, idp):
    return Visitor(sso, idp)


async def refusal(call) -> str:
    with pytest.raises(UnauthenticatedError) as refused:
        await call
    return str(refused.value)


async def test_a_first_login_makes_the_user(world, sso, visitor, idp):
    came_back = await visitor.sign_in(return_to="/nodes?label=env")
    user = came_back.signed_in.user
    assert (user.name, user.roles, user.origin) == ("alice", ("access",), "idp")
    assert (user.traits, user.claims) == ({"logins": ("alice",)}, {"logins": ("alice",)})
    assert user.password_hash is None
    assert (came_back.return_to, came_back.client_login) == ("/nodes?label=env", None)
    started = await sso.login.start_session(
        "alice", WebSessionKind.WEB, connector="idp", client_address=CLIENT
    )
    identity = await world.authenticator.by_session(started.token.reveal(), WebSessionKind.WEB)
    assert identity.name == "alice"
    (created,) = await world.events("user.created")
    assert (created["user_name"], created["roles"], created["connector"]) == ("alice", ["access"], "idp")
    (login,) = await world.events("user.login")
    assert (login["user_name"], login["method"], login["connector"]) == ("alice", "sso", "idp")
    identity = await world.database.read(sso_identities.get_of_user, user_name="alice")
    assert (identity.issuer, identity.subject) == (idp.url, "u-1")


async def test_there_is_no_password_to_guess(world, visitor):
    await visitor.sign_in()
    with pytest.raises(LoginRefusedError):
        await world.login.with_password("alice", "", client_address=CLIENT)


async def test_each_login_brings_roles_and_traits_up_to_date(world, sso, visitor, idp):
    """Threat E6: what was true at the first login is not true for ever."""
    await visitor.sign_in()
    await world.accounts.update("alice", roles=("admin",), traits={"x": ("y",)}, by="root")
    assert not (await visitor.sign_in()).signed_in.created
    user = await world.accounts.get("alice")
    assert (user.roles, user.traits) == (("access",), {"logins": ("alice",)})
    assert len(await world.events("user.updated")) == 2
    assert not (await visitor.sign_in()).signed_in.changed
    assert len(await world.events("user.updated")) == 2
    idp.person["groups"] = ["nothing"]
    assert "no rule of connector idp gives alice a role" in await refusal(visitor.sign_in())


async def test_a_user_keeps_the_name_when_it_changes_at_the_provider(visitor, idp):
    await visitor.sign_in()
    idp.person["preferred_username"] = "alice.married"
    assert (await visitor.sign_in()).signed_in.user.name == "alice"


async def test_a_name_that_is_taken_stays_with_whom_it_belongs_to(world, sso, visitor, idp):
    """Threat E5: neither a local user nor another identity is taken over."""
    await world.user("alice", roles=("admin",))
    said = await refusal(visitor.sign_in())
    assert "the name alice belongs to another user here" in said
    assert (await world.accounts.get("alice")).roles == ("admin",)
    assert await world.token("alice")
    idp.person.update(preferred_username="bob")
    await visitor.sign_in()
    idp.person.update(sub="u-2")
    assert "the name bob belongs to another user here" in await refusal(visitor.sign_in())


async def test_a_disabled_user_stays_disabled(world, sso, visitor):
    """Threat E6."""
    await visitor.sign_in()
    now = world.clock.now
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=now)
    assert "user alice is disabled" in await refusal(visitor.sign_in())
    with pytest.raises(UnauthenticatedError, match="disabled meanwhile"):
        await sso.login.start_session("alice", WebSessionKind.WEB, connector="idp", client_address=CLIENT)
    assert (await world.accounts.get("alice")).disabled_at == now


async def test_a_locked_user_gets_no_session(world, sso, visitor):
    """Threat E6."""
    await visitor.sign_in()
    root = await world.user("root", roles=("admin",))
    await world.locks.create(LockTarget.USER, "alice", message="left", by=root, client_address=CLIENT)
    with pytest.raises(LockedError) as locked:
        await sso.login.start_session("alice", WebSessionKind.WEB, connector="idp", client_address=CLIENT)
    (event,) = await world.events("user.login.failed")
    assert (event["id"], event["user_name"]) == (locked.value.event_id, "alice")
    assert await world.database.read(web_sessions.list_live, user_name="alice", now=world.clock.now) == []


async def test_what_the_connector_says_fills_the_templates_of_roles(world, sso, visitor, idp):
    template = json.dumps(
        {
            "kind": "role",
            "version": "v1",
            "metadata": {"name": "dev"},
            "spec": {"allow": {"node_labels": {"*": "*"}, "logins": ["dev-{{external.logins}}"]}},
        }
    )
    await world.roles.put(template, by="root", client_address=CLIENT)
    await world.agent("web-1")
    rules = [{"claim": "groups", "value": "platform", "roles": ["dev"]}]
    await connect(sso, idp, claims_to_roles=rules)
    await visitor.sign_in()
    started = await sso.login.start_session(
        "alice", WebSessionKind.API, connector="idp", client_address=CLIENT
    )
    identity = await world.authenticator.by_session(started.token.reveal())
    assert identity.claims == {"logins": ("alice",)}
    assert (await world.issue(identity)).logins == ("dev-alice",)
    asked = AccessContext(client_address=CLIENT, decision_id="1", login="dev-alice")
    node = Resource(kind="node", name="web-1", labels={"env": "prod"})
    assert authorize(identity, "nodes.connect", node, asked).allowed
    local = await world.user("carol", roles=("dev",), logins=("carol",))
    assert local.claims == {}
    assert (await world.issue(local)).logins == ()


async def test_a_role_that_is_gone_is_not_left_out(world, sso, idp, visitor):
    """It may have denied something."""
    document = '{"kind": "role", "version": "v1", "metadata": {"name": "dev"}, "spec": {"deny": {"logins": ["root"]}}}'
    await world.roles.put(document, by="root", client_address=CLIENT)
    rules = [{"claim": "groups", "value": "platform", "roles": ["access", "dev"]}]
    await connect(sso, idp, claims_to_roles=rules)
    await world.roles.delete("dev", by="root", client_address=CLIENT)
    assert "gives the role dev, which does not exist" in await refusal(visitor.sign_in())


async def test_a_state_is_good_once(visitor, idp):
    """Threats E4, E10."""
    answer = idp.authorize(await visitor.begin())
    await visitor.come_back(answer)
    assert "was not begun in this browser, has been used already" in await refusal(visitor.come_back(answer))


async def test_a_state_is_good_for_ten_minutes(world, visitor, idp):
    answer = idp.authorize(await visitor.begin())
    world.clock.now += ROUND_TRIP_MS
    assert "more than 10 minutes old" in await refusal(visitor.come_back(answer))


@pytest.mark.parametrize("cookie", [None, "", "0" * 64])
async def test_a_state_is_good_in_one_browser(visitor, idp, cookie):
    """Threat E4: login CSRF, and a code that was caught on its way."""
    answer = idp.authorize(await visitor.begin())
    other = attrs.evolve(visitor, cookie=cookie)
    assert "in the browser that you want to use" in await refusal(other.come_back(answer))
    assert "used already" in await refusal(visitor.come_back(answer))


async def test_a_code_is_bound_to_its_round_trip(visitor, idp):
    """By PKCE: the code of another login, brought with one's own state, is worth nothing."""
    theirs = dict(idp.authorize(await Visitor(visitor.sso, idp).begin()))
    mine = dict(idp.authorize(await visitor.begin()))
    mixed = {**mine, "code": theirs["code"]}
    assert "'invalid_grant'" in await refusal(visitor.come_back(list(mixed.items())))


async def test_several_tabs_of_one_browser(visitor, idp):
    first = idp.authorize(await visitor.begin())
    second = idp.authorize(await visitor.begin())
    assert (await visitor.come_back(first)).signed_in.user.name == "alice"
    assert (await visitor.come_back(second)).signed_in.user.name == "alice"


async def test_fifty_answers_at_once(visitor, idp):
    """Threat E10: exactly one wins."""
    answer = idp.authorize(await visitor.begin())
    found = []

    async def come_back(number):
        one = attrs.evolve(visitor, client=f"192.0.{number}.1:1")
        try:
            found.append(await one.come_back(answer))
        except UnauthenticatedError as refused:
            found.append(str(refused))

    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(come_back, number)
    assert sum(isinstance(each, CameBack) for each in found) == 1


async def test_a_connector_that_changes_meanwhile(sso, visitor, idp):
    answer = idp.authorize(await visitor.begin())
    await connect(sso, idp, display_name="Other")
    assert "connector idp was changed meanwhile" in await refusal(visitor.come_back(answer))
    answer = idp.authorize(await visitor.begin())
    assert "was changed meanwhile" in await refusal(visitor.come_back(answer, ConnectorKind.GITHUB))
    answer = idp.authorize(await visitor.begin())
    await sso.catalog.delete("idp", by="root", client_address=CLIENT)
    assert "connector idp does not exist" in await refusal(visitor.come_back(answer))


async def test_what_begins_no_login(world, sso, visitor):
    with pytest.raises(InvalidRequestError, match="return_to is not a path on this host"):
        await visitor.begin(return_to="//evil.example")
    with pytest.raises(NotFoundError, match="connector nobody does not exist"):
        await visitor.begin("nobody")


async def test_limits(sso, visitor, idp, monkeypatch):
    monkeypatch.setattr(module, "MAX_UNDER_WAY", 1)
    await visitor.begin()
    with pytest.raises(UnavailableError, match="too many sign-ins are under way"):
        await visitor.begin()
    monkeypatch.undo()
    answer = idp.authorize(await visitor.begin())
    for _ in range(module.MAX_EXCHANGES):
        sso.login._exchanges.acquire_nowait()
    with pytest.raises(UnavailableError, match="too many sign-ins at this moment"):
        await visitor.come_back(answer)
    for _ in range(module.MAX_EXCHANGES):
        sso.login._exchanges.release()


async def test_sign_ins_begun_from_one_address_come_to_an_end(sso):
    for _ in range(200):
        sso.login.admit_start(CLIENT)
    with pytest.raises(TooManyRequestsError, match="too many sign-ins begun"):
        sso.login.admit_start(CLIENT)


async def test_failures_of_one_address_come_to_an_end(world, visitor):
    for _ in range(30):
        await refusal(visitor.come_back([]))
    with pytest.raises(TooManyRequestsError, match="too many failed sign-ins"):
        await visitor.come_back([])


async def test_what_a_provider_publishes_is_kept(sso, visitor, idp):
    for _ in range(3):
        await visitor.sign_in()
    assert (idp.count("/jwks"), idp.count("/.well-known/openid-configuration")) == (1, 1)


async def test_a_provider_that_changes_its_keys(sso, visitor, idp):
    clock = [0.0]
    sso.providers.clock = lambda: clock[0]
    await visitor.sign_in()
    idp.key_id = "k2"
    assert "does not publish" in await refusal(visitor.sign_in())
    assert idp.count("/jwks") == 1
    clock[0] += 31
    await visitor.sign_in()
    assert idp.count("/jwks") == 2
    clock[0] += 3601
    await visitor.sign_in()
    assert (idp.count("/jwks"), idp.count("/.well-known/openid-configuration")) == (3, 2)


async def test_keys_that_cannot_be_fetched_anew(sso, visitor, idp):
    """Good keys are not given up for a moment's failure, and a provider that is down is left alone."""
    clock = [0.0]
    sso.providers.clock = lambda: clock[0]
    await visitor.sign_in()
    idp.overrides["/jwks"] = lambda _: Reply(status=500)
    key_id, idp.key_id = idp.key_id, "k2"
    clock[0] += 31
    assert "status 500" in await refusal(visitor.sign_in())
    assert "does not publish" in await refusal(visitor.sign_in())
    idp.key_id = key_id
    await visitor.sign_in()
    assert idp.count("/jwks") == 2
    clock[0] += 3601
    assert "status 500" in await refusal(visitor.sign_in())
    assert "could not be had a moment ago" in await refusal(visitor.sign_in())
    assert idp.count("/jwks") == 3
    del idp.overrides["/jwks"]
    clock[0] += 30
    await visitor.sign_in()


async def test_what_is_remembered_of_providers_is_bounded(sso, visitor, idp, monkeypatch):
    monkeypatch.setattr("mezite.services.sso.identity_providers.MAX_KEPT", 2)
    for number in range(4):
        await connect(sso, idp, display_name=str(number))
        await visitor.sign_in()
    assert len(sso.providers._kept) == 2


async def test_claims_of_userinfo(visitor, idp):
    idp.person = {"sub": "u-1"}
    idp.userinfo = {"preferred_username": "alice", "groups": ["platform"], "iss": "evil", "nonce": "x"}
    assert (await visitor.sign_in()).signed_in.user.name == "alice"


async def test_the_secret_in_the_form(visitor, idp):
    idp.discovery["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    found = []

    def redeem(asked):
        found.append((asked.form["client_id"], asked.form["client_secret"], b"authorization" in asked.fields))
        return Reply({"error": "enough"})

    idp.overrides["/token"] = redeem
    assert "enough" in await refusal(visitor.sign_in())
    assert found == [("mezite", "s3cret&more", False)]


async def test_where_the_provider_sends_the_browser_back_to(sso, visitor, idp):
    assert asked_of(await visitor.begin())["redirect_uri"] == (
        "https://hub.example.com/v1/webapi/oidc/callback"
    )
    elsewhere = "https://front.example.com/v1/webapi/oidc/callback"
    await connect(sso, idp, redirect_urls=[elsewhere])
    assert asked_of(await visitor.begin())["redirect_uri"] == elsewhere
    await visitor.sign_in()


async def test_two_connectors_of_one_provider_know_the_same_people(world, sso, visitor, idp):
    document = idp.document()
    document["metadata"]["name"] = "second"
    await visitor.sign_in()
    await sso.catalog.put(json.dumps(document), by="root", client_address=CLIENT)
    came_back = await visitor.sign_in("second")
    assert (came_back.signed_in.user.name, came_back.signed_in.user.origin) == ("alice", "second")


@pytest.fixture
async def github(world):
    async with serving(FakeGithub, lambda: world.clock.now // 1000) as github:
        sso = open_world_sso(world)
        await connect(sso, github)
        yield Visitor(sso, github)


async def test_github(world, github):
    user = (await github.sign_in("github")).signed_in.user
    assert (user.name, user.roles) == ("OctoCat", ("access", "auditor"))
    identity = await world.database.read(sso_identities.get_of_user, user_name="OctoCat")
    assert (identity.issuer, identity.subject) == (github.provider.url, "583231")


async def test_a_github_name_that_somebody_else_takes(github):
    """Threat E5: the account's number counts."""
    await github.sign_in("github")
    github.provider.number = 7
    assert "the name OctoCat belongs to another user here" in await refusal(github.sign_in("github"))


async def test_pages_of_github(github):
    github.provider.orgs = []
    github.provider.teams = [("Acme", f"t{number}") for number in range(150)] + [("Acme", "platform")]
    assert (await github.sign_in("github")).signed_in.user.roles == ("access",)
    assert github.provider.count("/api/v3/user/teams") == 2
    github.provider.teams = [("Other", f"t{number}") for number in range(2000)] + [("Acme", "platform")]
    assert "no rule" in await refusal(github.sign_in("github"))
    assert github.provider.count("/api/v3/user/teams") == 12


@pytest.mark.parametrize(
    ("path", "reply", "words"),
    [
        ("/login/oauth/access_token", Reply({"error": "bad_verification_code"}), "'bad_verification_code'"),
        ("/login/oauth/access_token", Reply(b"error=x"), "is not JSON"),
        ("/api/v3/user", Reply({"message": "Bad credentials"}, status=401), "status 401"),
        ("/api/v3/user", Reply({"login": "admin"}), "no id or no login"),
        ("/api/v3/user/teams", Reply({"message": "x"}), "is not a list"),
        ("/api/v3/user/orgs", Reply(status=403), "status 403"),
    ],
)
async def test_github_refuses(github, path, reply, words):
    github.provider.overrides[path] = lambda _: reply
    assert words in await refusal(github.sign_in("github"))


async def test_a_local_password_is_no_business_of_a_provider(world, visitor):
    await world.user("carol")
    await visitor.sign_in()
    assert (await world.login.with_password("carol", PASSWORD, client_address=CLIENT)).user.origin is None


async def test_two_first_logins_at_once(world, sso, idp):
    """Two tabs of one person: both get in, and there is one user."""
    found = []

    async def sign_in():
        found.append((await Visitor(sso, idp).sign_in()).signed_in.user.name)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(sign_in)
    assert found == ["alice", "alice"]
