# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.oidc.claim_mapping import ClaimsRefusedError, map_claims, merged_claims, trustworthy_claims
from mezite.core.oidc.connector_document import parse_connector
from tests.core.oidc.documents import GITHUB, connector

CLAIMS = {"sub": "1", "preferred_username": "alice", "groups": ["platform", "eng-web"]}
EMAIL = {"email": "alice@example.com", "email_verified": True}


def test_roles_and_traits():
    mapped = map_claims(connector(), CLAIMS)
    assert (mapped.name, mapped.roles) == ("alice", ("access", "auditor"))
    assert mapped.traits == {"logins": ("alice",), "groups": ("platform", "eng-web")}


def test_claims_inside_claims():
    mapped = map_claims(connector(), {**CLAIMS, "groups": "eng-x", "realm_access": {"roles": ["root"]}})
    assert mapped.roles == ("access", "admin")
    assert map_claims(connector(), {**CLAIMS, "realm_access.roles": "root"}).roles[-1] == "admin"
    assert "admin" not in map_claims(connector(), {**CLAIMS, "realm_access": "roles"}).roles


@pytest.mark.parametrize(
    "groups",
    [
        None,
        [],
        5,
        True,
        {"platform": 1},
        [["platform"]],
        [5],
        "Platform",
        "platform ",
        ["x" * 257],
        ["plat\nform"],
    ],
)
def test_groups_that_give_no_role(groups):
    with pytest.raises(ClaimsRefusedError, match="no rule of connector keycloak gives alice a role"):
        map_claims(connector(), {**CLAIMS, "groups": groups})


def test_of_a_million_groups_the_first_thousand_count():
    with pytest.raises(ClaimsRefusedError, match="no rule"):
        map_claims(connector(), {**CLAIMS, "groups": ["x"] * 1024 + ["platform"]})


def test_a_star_wants_the_claim_to_be_there():
    anybody = connector(claims_to_roles=[{"claim": "groups", "value": "*", "roles": ["access"]}])
    assert map_claims(anybody, CLAIMS).roles == ("access",)
    with pytest.raises(ClaimsRefusedError, match="no rule"):
        map_claims(anybody, {**CLAIMS, "groups": []})


@pytest.mark.parametrize(
    "changes",
    [
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": 1},
        {"email_verified": None},
        {"email": "a@evil.example@example.com"},
        {"email": "@example.com"},
        {"email": "alice"},
        {"email": ["alice@example.com"]},
        {"email": None},
    ],
)
def test_an_address_that_is_not_to_be_trusted(changes):
    """Threat E5."""
    claims = {**CLAIMS, **EMAIL, **changes}
    assert "email" not in trustworthy_claims(claims)
    by_address = connector(username_claim="email")
    with pytest.raises(ClaimsRefusedError, match=r"names no email that is verified \(email_verified\)"):
        map_claims(by_address, claims)
    by_domain = [{"claim": "email", "value": r"^.*@example\.com$", "roles": ["access"]}]
    with pytest.raises(ClaimsRefusedError, match="no rule"):
        map_claims(connector(claims_to_roles=by_domain), claims)


def test_a_verified_address():
    by_domain = [{"claim": "email", "value": r"^[^@]*@example\.com$", "roles": ["access"]}]
    mapped = map_claims(connector(username_claim="email", claims_to_roles=by_domain), {**CLAIMS, **EMAIL})
    assert (mapped.name, mapped.roles) == ("alice@example.com", ("access",))


@pytest.mark.parametrize("name", [None, 5, ["alice"]])
def test_no_name(name):
    with pytest.raises(
        ClaimsRefusedError, match="names no preferred_username, which connector keycloak takes"
    ):
        map_claims(connector(), {**CLAIMS, "preferred_username": name})


@pytest.mark.parametrize("name", ["", "../root", "a b", "-x", "x" * 129, "ålice", "a\x00b", "a,b"])
def test_a_name_that_is_none(name):
    with pytest.raises(ClaimsRefusedError, match="cannot be a user name"):
        map_claims(connector(), {**CLAIMS, "preferred_username": name})


def test_what_cannot_be_a_login_becomes_none():
    rules = [{"claim": "groups", "trait": "logins"}, {"claim": "preferred_username", "trait": "logins"}]
    mapped = map_claims(
        connector(claims_to_traits=rules),
        {**CLAIMS, "groups": ["platform", "-oProxyCommand=x", "alice", "1000"]},
    )
    assert mapped.traits == {"logins": ("platform", "alice")}
    rules = [{"claim": "missing", "trait": "x"}]
    assert map_claims(connector(claims_to_traits=rules), CLAIMS).traits == {}


def test_more_traits_than_a_certificate_has_room_for():
    with pytest.raises(ClaimsRefusedError, match="more than 256 values"):
        map_claims(connector(), {**CLAIMS, "groups": ["platform", *(f"g{number}" for number in range(256))]})
    with pytest.raises(ClaimsRefusedError, match="more than the 6144 that fit a certificate"):
        map_claims(connector(), {**CLAIMS, "groups": ["platform", *("g" * 250 + str(n) for n in range(30))]})


def test_github():
    claims = {"login": "octocat", "orgs": ["acme"], "teams": ["acme/platform"], "email": "x"}
    mapped = map_claims(parse_connector(GITHUB), claims)
    assert (mapped.name, mapped.roles) == ("octocat", ("access", "auditor"))
    assert mapped.traits == {"logins": ("octocat",)}
    with pytest.raises(ClaimsRefusedError, match="names no login"):
        map_claims(parse_connector(GITHUB), {"orgs": ["acme"]})


@pytest.mark.parametrize(
    ("signed", "told", "merged"),
    [
        (EMAIL, {"email": "b@evil.example", "email_verified": True}, EMAIL),
        ({}, EMAIL, EMAIL),
        ({"email": "b@evil.example"}, EMAIL, EMAIL),
        # Threat E5: what one says of its address says nothing about the other's.
        ({"email": "b@evil.example"}, {"email_verified": True}, {}),
        ({"email_verified": True}, {"email": "b@evil.example"}, {}),
        (
            {"email_verified": True},
            {"email": "b@evil.example", "email_verified": False},
            {"email_verified": False},
        ),
        ({"email": "a@b", "email_verified": False}, EMAIL, {"email_verified": False}),
        ({}, {}, {}),
    ],
)
def test_an_address_and_its_word_come_from_one_place(signed, told, merged):
    found = merged_claims(signed={"sub": "1", **signed}, told={"sub": "2", "groups": ["a"], **told})
    assert trustworthy_claims(found) == trustworthy_claims({"sub": "1", "groups": ["a"], **merged})
