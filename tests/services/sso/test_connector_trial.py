# SPDX-License-Identifier: Apache-2.0
"""Trying a connector without a person."""

import json

import pytest

from mezite.services.errors import InvalidRequestError, NotFoundError
from tests.services.sso.identity_provider import FakeGithub, FakeOidc, Reply, serving
from tests.services.sso.test_connectors import catalog_of
from tests.services.sso.world import asked_of, connect, open_world_sso

CLAIMS = json.dumps({"preferred_username": "alice", "groups": ["platform"]})


@pytest.fixture
async def idp(world):
    async with serving(FakeOidc, lambda: world.clock.now // 1000) as idp:
        yield idp


@pytest.fixture
def sso(world):
    return open_world_sso(world)


def steps_of(outcome):
    return [(step.name, step.passed) for step in outcome.steps]


async def test_a_good_one(sso, idp):
    await connect(sso, idp)
    outcome = await sso.trial.try_out("idp", CLAIMS)
    assert [(step.name, step.detail) for step in outcome.steps] == [
        ("client secret", "is there"),
        ("discovery", f"issuer {idp.url}, token endpoint {idp.url}/token"),
        ("keys", "1 usable, for ES256"),
        ("way to the provider", "back to https://hub.example.com/v1/webapi/oidc/callback"),
        ("claims", "user alice, roles access"),
    ]
    assert (outcome.mapped.name, outcome.mapped.traits) == ("alice", {"logins": ("alice",)})
    assert asked_of(outcome.authorization_url)["client_id"] == "mezite"


async def test_it_asks_anew_each_time(sso, idp):
    await connect(sso, idp)
    for _ in range(2):
        assert len((await sso.trial.try_out("idp")).steps) == 4
    assert idp.count("/jwks") == 2


@pytest.mark.parametrize(
    ("path", "passed"),
    [("/.well-known/openid-configuration", ["client secret"]), ("/jwks", ["client secret", "discovery"])],
)
async def test_the_first_step_that_fails_is_the_last(sso, idp, path, passed):
    idp.overrides[path] = lambda _: Reply(b"<html>")
    await connect(sso, idp, client_secret="")
    outcome = await sso.trial.try_out("idp", CLAIMS)
    assert [name for name, good in steps_of(outcome) if good] == passed
    assert "is not JSON" in outcome.steps[-1].detail
    assert (outcome.mapped, outcome.authorization_url) == (None, "")
    assert outcome.steps[0].detail == "none: a public client"


async def test_claims_that_give_nothing(sso, idp):
    await connect(sso, idp)
    outcome = await sso.trial.try_out("idp", '{"preferred_username": "alice"}')
    assert steps_of(outcome)[-1] == ("claims", False)
    assert "no rule of connector idp gives alice a role" in outcome.steps[-1].detail


async def test_a_secret_that_does_not_open(world, sso, idp):
    document = json.dumps(idp.document())
    await catalog_of(world, "correct horse").put(document, by="root", client_address="192.0.2.7:1")
    outcome = await sso.trial.try_out("idp")
    assert steps_of(outcome) == [("client secret", False)]


async def test_github(world, sso):
    async with serving(FakeGithub, lambda: world.clock.now // 1000) as github:
        await connect(sso, github)
        outcome = await sso.trial.try_out("github", '{"login": "octocat", "teams": ["acme/platform"]}')
    assert [name for name, _ in steps_of(outcome)] == ["client secret", "way to the provider", "claims"]
    assert outcome.mapped.roles == ("access",)


async def test_what_cannot_be_tried(sso, idp):
    with pytest.raises(NotFoundError):
        await sso.trial.try_out("nobody")
    await connect(sso, idp)
    for claims in ("[]", "x", '{"a": 1, "a": 2}', '{"a": "' + "x" * 70_000 + '"}'):
        with pytest.raises(InvalidRequestError, match="the claims"):
            await sso.trial.try_out("idp", claims)
