# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mezite.core.oidc.connector import ConnectorKind, GithubSpec, OidcSpec
from mezite.core.oidc.connector_document import ConnectorProblems, connector_document, parse_connector
from tests.core.oidc.documents import GITHUB, ISSUER, OIDC, github, oidc


def problems(document):
    with pytest.raises(ConnectorProblems) as refused:
        parse_connector(document)
    return {each.key: (each.why, each.hint) for each in refused.value.problems}


def only(document):
    (found,) = problems(document).items()
    return found


@pytest.mark.parametrize("document", [OIDC, GITHUB])
def test_a_connector_survives_its_document(document):
    connector = parse_connector(document)
    assert connector_document(connector, secret=True) == document
    assert parse_connector(json.loads(json.dumps(connector_document(connector, secret=True)))) == connector


def test_the_secret_is_not_in_the_document_nor_in_a_repr():
    """Threat H6."""
    connector = parse_connector(OIDC)
    assert connector.client_secret.reveal() == "s3cret"
    assert "s3cret" not in json.dumps(connector_document(connector)) + repr(connector)


def test_defaults():
    spec = {"issuer": ISSUER, "client_id": "x"}
    connector = parse_connector({"kind": "oidc", "version": "v1", "metadata": {"name": "a"}, "spec": spec})
    assert connector.provider == OidcSpec(
        issuer=ISSUER, scopes=("openid", "email", "profile"), username_claim="email"
    )
    assert (connector.kind, connector.title, connector.issuer) == (ConnectorKind.OIDC, "a", ISSUER)
    assert not connector.client_secret
    hub = parse_connector(github(url=None, api_url=None, teams_to_roles=None, claims_to_traits=None))
    assert (hub.kind, hub.provider, hub.issuer) == (ConnectorKind.GITHUB, GithubSpec(), "https://github.com")
    assert (hub.role_rules, hub.trait_rules) == ((), ())


def test_text_stands_for_flags():
    assert parse_connector(oidc(allow_private_network="true")).allow_private_network
    assert not parse_connector(oidc(allow_private_network="false")).allow_private_network


def test_a_trait_is_called_like_its_claim():
    (rule,) = parse_connector(oidc(claims_to_traits=[{"claim": "team"}])).trait_rules
    assert (rule.claim, rule.trait) == ("team", "team")


def test_github_folds_case():
    document = github(teams_to_roles=[{"org": "ACME", "team": "Platform", "roles": ["access"]}])
    (rule,) = parse_connector(document).role_rules
    assert (rule.claim, rule.value) == ("teams", "acme/platform")


def test_everything_wrong_is_told_at_once():
    document = {
        "kind": "oidc",
        "version": "v2",
        "metadata": {"name": "Key Cloak", "descr": ""},
        "spec": {
            "isuer": ISSUER,
            "client_id": 5,
            "scopes": ["email"],
            "claims_to_roles": [{"claim": "groups"}],
        },
    }
    found = problems(document)
    assert set(found) == {
        "version",
        "metadata.name",
        "metadata.descr",
        "spec.isuer",
        "spec.issuer",
        "spec.client_id",
        "spec.scopes",
        "spec.claims_to_roles[0].value",
        "spec.claims_to_roles[0].roles",
    }
    assert found["spec.isuer"] == ("unknown key", "did you mean issuer?")
    assert found["metadata.descr"] == ("unknown key", "did you mean description?")
    assert found["metadata.name"][0].startswith("connector name 'Key Cloak' is not allowed")


@pytest.mark.parametrize(
    ("spec", "key", "why"),
    [
        ({"issuer": None}, "spec.issuer", "is missing"),
        ({"issuer": ""}, "spec.issuer", "is missing"),
        (
            {"issuer": "http://login.example.com"},
            "spec.issuer",
            "cannot be used: it does not begin with https://",
        ),
        ({"issuer": "http://127.0.0.1/"}, "spec.issuer", "cannot be used: it does not begin with https://"),
        ({"issuer": ISSUER + "?a=b"}, "spec.issuer", "a URL with a query"),
        (
            {"issuer": "https://u:p@x/"},
            "spec.issuer",
            "cannot be used: not a URL such as https://login.example.com/path",
        ),
        ({"client_id": None}, "spec.client_id", "is missing"),
        ({"client_id": "x" * 513}, "spec.client_id", "longer than 512 characters"),
        ({"client_secret": ["x"]}, "spec.client_secret", "expected text"),
        ({"client_secret": "x" * 4097}, "spec.client_secret", "longer than 4096 characters"),
        ({"scopes": "openid"}, "spec.scopes", None),
        ({"scopes": ["openid", "a b"]}, "spec.scopes[1]", "'a b' is not a scope"),
        ({"scopes": ["openid", ""]}, "spec.scopes[1]", "'' is not a scope"),
        ({"scopes": ["openid", "ä"]}, "spec.scopes[1]", "'ä' is not a scope"),
        ({"scopes": ["openid", "a\n"]}, "spec.scopes[1]", "'a\\n' is not a scope"),
        ({"scopes": ["openid"] * 65}, "spec.scopes", "65 entries; 64 are allowed"),
        ({"username_claim": ""}, "spec.username_claim", "is missing"),
        ({"allow_private_network": 1}, "spec.allow_private_network", "expected true or false"),
        ({"allow_private_network": "yes"}, "spec.allow_private_network", "expected true or false"),
        ({"ca_pem": "certificate"}, "spec.ca_pem", "no certificate in PEM form"),
        ({"ca_pem": "-----BEGIN CERTIFICATE-----ä"}, "spec.ca_pem", "no certificate in PEM form"),
        ({"claims_to_roles": {}}, "spec.claims_to_roles", "expected a list of rules"),
        ({"claims_to_roles": [{}] * 257}, "spec.claims_to_roles", "257 rules; 256 are allowed"),
        ({"claims_to_roles": ["x"]}, "spec.claims_to_roles[0]", None),
        (
            {"claims_to_roles": [{"claim": "g", "value": "^a", "roles": ["access"]}]},
            "spec.claims_to_roles[0].value",
            "'^a' is half a regular expression: write ^…$, with a backslash before a sign of the value",
        ),
        (
            {"claims_to_roles": [{"claim": "g", "value": "a", "roles": ["Access"]}]},
            "spec.claims_to_roles[0].roles[0]",
            "role name 'Access' is not allowed: use lower-case letters, digits and _ . -, first a letter or digit",
        ),
        ({"claims_to_traits": [{"claim": "g", "trait": "a b"}]}, "spec.claims_to_traits[0].trait", None),
        ({"claims_to_traits": [{"trait": "x"}]}, "spec.claims_to_traits[0].claim", "is missing"),
        ({"redirect_urls": ["https://hub/elsewhere"]}, "spec.redirect_urls[0]", "not this hub's callback"),
        (
            {"redirect_urls": ["http://hub/v1/webapi/oidc/callback"]},
            "spec.redirect_urls[0]",
            "cannot be used: it does not begin with https://",
        ),
        ({"teams_to_roles": []}, "spec.teams_to_roles", "unknown key"),
    ],
)
def test_one_thing_wrong(spec, key, why):
    found = problems(oidc(**spec))
    assert key in found
    assert why is None or found[key][0] == why


@pytest.mark.parametrize(
    ("spec", "key"),
    [
        ({"teams_to_roles": [{"org": "a/b", "roles": ["access"]}]}, "spec.teams_to_roles[0].org"),
        ({"teams_to_roles": [{"team": "a", "roles": ["access"]}]}, "spec.teams_to_roles[0].org"),
        (
            {"teams_to_roles": [{"org": "a", "team": "b c", "roles": ["access"]}]},
            "spec.teams_to_roles[0].team",
        ),
        ({"url": "https://github.com?x=1"}, "spec.url"),
        ({"api_url": "ftp://x"}, "spec.api_url"),
        ({"issuer": ISSUER}, "spec.issuer"),
    ],
)
def test_one_thing_wrong_of_github(spec, key):
    assert only(github(**spec))[0] == key


@pytest.mark.parametrize("document", [None, [], "x", {"kind": "saml"}, {"kind": []}, {"kind": None}])
def test_what_is_no_connector(document):
    assert problems(document)["kind"] == ("expected oidc or github", "write kind: oidc")


def test_a_problem_of_the_whole_is_named_so():
    with pytest.raises(ConnectorProblems, match=r"^connector: expected keys and values"):
        parse_connector("x")


def test_http_to_this_machine_where_private_networks_are_allowed():
    document = oidc(issuer="http://127.0.0.1:9000", allow_private_network=True)
    assert parse_connector(document).issuer == "http://127.0.0.1:9000"
