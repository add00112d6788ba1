# SPDX-License-Identifier: Apache-2.0
"""What applications are told about who asks; read here by another library than the one that has written it."""

import json

import attrs
import jwt
import pytest

from mezite.core.apps.app import App
from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.assertion.signer import MAX_TOKEN
from mezite.core.assertion.verifier import verify_assertion
from mezite.services.apps.assertions import AppAssertions
from mezite.services.authorities.key_export import app_jwks
from mezite.services.authorities.keys import Purpose
from tests.services.apps.test_request_log import GRAFANA
from tests.services.authorities.test_rotation import BY, rotation_of
from tests.services.world import CLIENT, START

ISSUER = "https://hub.example.com"


@pytest.fixture
def assertions(world):
    return AppAssertions(authorities=world.authorities, issuer=lambda: ISSUER, sources=world.sources)


def claims_of(world, token, audience=GRAFANA.uri):
    """As PyJWT reads it with the published key set, and the key's id."""
    keys = jwt.PyJWKSet.from_json(json.dumps(app_jwks(world.authorities)))
    kid = jwt.get_unverified_header(token)["kid"]
    checks = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
    key = keys[kid].key
    return jwt.decode(token, key, algorithms=["ES256"], audience=audience, options=checks), kid


async def test_the_fields_of_a_request(world, assertions):
    alice = await world.user(roles=("access", "auditor"))
    (name, token), *plain = assertions.fields(GRAFANA, alice)
    assert (name, plain) == (
        b"Mezite-Jwt-Assertion",
        [(b"X-Mezite-User", b"alice"), (b"X-Mezite-Roles", b"access,auditor")],
    )
    claims, kid = claims_of(world, token.decode())
    seconds = START // 1000
    assert claims == {
        "iss": ISSUER,
        "aud": "http://127.0.0.1:3000",
        "sub": "alice",
        "roles": ["access", "auditor"],
        "iat": seconds,
        "nbf": seconds,
        "exp": seconds + 60,
        "jti": claims["jti"],
        "app": "grafana",
    }
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": kid, "typ": "JWT"}


async def test_no_two_requests_have_the_same_id(world, assertions):
    alice = await world.user()
    tokens = [assertions.fields(GRAFANA, alice)[0][1].decode() for _ in range(5)]
    assert len({claims_of(world, token)[0]["jti"] for token in tokens}) == 5


async def test_the_key_that_signs_is_the_active_one(world, assertions):
    alice = await world.user()
    before = assertions.fields(GRAFANA, alice)[0][1].decode()
    rotation = rotation_of(world)
    await rotation.note_hub()
    await rotation.force(Purpose.APP_JWT, **BY)
    after = assertions.fields(GRAFANA, alice)[0][1].decode()
    first, second = claims_of(world, before)[1], claims_of(world, after)[1]
    assert first == second, "asked for, and not ready yet"
    await rotation.force(Purpose.APP_JWT, **BY)
    after = assertions.fields(GRAFANA, alice)[0][1].decode()
    assert claims_of(world, after)[1] != first
    assert claims_of(world, before)[1] == first, "what is under way stays good"


def role(name, **allow):
    return json.dumps({"kind": "role", "version": "v1", "metadata": {"name": name}, "spec": {"allow": allow}})


async def test_of_two_hundred_roles_those_that_let_the_user_in_are_named(world, assertions):
    names = [f"team-{number:03}-of-the-organisation" for number in range(200)]
    for name in names[:3]:
        await world.roles.put(role(name), by="root", client_address=CLIENT)
    important = names[197:]
    for name in important:
        text = role(name, app_labels={"env": "prod"})
        await world.roles.put(text, by="root", client_address=CLIENT)
    for name in names[3:197]:
        await world.roles.put(role(name), by="root", client_address=CLIENT)
    alice = await world.user(roles=tuple(names))
    (_, token), _, (_, listed) = assertions.fields(GRAFANA, alice)
    assert len(token) <= MAX_TOKEN
    claims, _kid = claims_of(world, token.decode())
    assert claims["roles"][:3] == important
    assert claims["roles"] == listed.decode().split(",")
    assert len(claims["roles"]) + claims["roles_omitted"] == 200
    keys = AssertionKeys.parse(json.dumps(app_jwks(world.authorities)))
    caller = verify_assertion(token, keys, audience=GRAFANA.uri, now=START / 1000, issuer=ISSUER)
    assert (caller.user, caller.roles_omitted) == ("alice", claims["roles_omitted"])


async def test_a_user_without_roles(world, assertions):
    alice = await world.user(roles=())
    assert assertions.fields(GRAFANA, alice)[2] == (b"X-Mezite-Roles", b"")


async def test_the_longest_uri_and_the_longest_names(world, assertions):
    """Whatever may be registered can be asserted, with a public host name of ordinary length."""
    name = "u" * 128
    user = await world.user(name)
    uri = "http://" + ".".join(["x" * 61] * 4) + ":65535/"
    app = App(name="a" * 63, uri=uri, public_addr="a.example.com")
    longest = attrs.evolve(app, uri=uri + "p" * (512 - len(uri)))
    token = assertions.fields(longest, user)[0][1]
    assert len(token) <= MAX_TOKEN
    assert claims_of(world, token.decode(), longest.uri)[0]["sub"] == name
