# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.discovery import discovery_url, parse_metadata

ISSUER = "https://login.example.com/realms/main"
KEYCLOAK = {
    "issuer": ISSUER,
    "authorization_endpoint": f"{ISSUER}/auth",
    "token_endpoint": f"{ISSUER}/token",
    "jwks_uri": f"{ISSUER}/certs",
    "userinfo_endpoint": f"{ISSUER}/userinfo",
    "response_types_supported": ["code", "none", "id_token"],
    "code_challenge_methods_supported": ["plain", "S256"],
    "id_token_signing_alg_values_supported": ["PS384", "RS256", "HS256"],
    "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic", "client_secret_post"],
    "authorization_response_iss_parameter_supported": True,
}


def parsed(**changes):
    values = {key: value for key, value in {**KEYCLOAK, **changes}.items() if value is not None}
    return parse_metadata(json.dumps(values).encode(), ISSUER)


def test_where_it_is():
    assert discovery_url(ISSUER) == f"{ISSUER}/.well-known/openid-configuration"
    assert discovery_url("https://accounts.example.com/") == (
        "https://accounts.example.com/.well-known/openid-configuration"
    )


def test_a_provider():
    metadata = parsed()
    assert (metadata.issuer, metadata.token_endpoint) == (ISSUER, f"{ISSUER}/token")
    assert metadata.userinfo_endpoint == f"{ISSUER}/userinfo"
    assert metadata.iss_in_callback
    assert not metadata.secret_in_body


def test_who_says_little_can_do_what_is_usual():
    lists = [key for key in KEYCLOAK if key.endswith("_supported")]
    metadata = parsed(userinfo_endpoint=None, **dict.fromkeys(lists))
    assert (metadata.userinfo_endpoint, metadata.iss_in_callback, metadata.secret_in_body) == (
        None,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("methods", "in_body"),
    [(["client_secret_post"], True), (["none"], False), (["client_secret_basic"], False), ("x", False)],
)
def test_where_the_secret_goes(methods, in_body):
    assert parsed(token_endpoint_auth_methods_supported=methods).secret_in_body == in_body


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"issuer": ISSUER + "/"}, "of the issuer"),
        ({"issuer": None}, "has no issuer"),
        ({"token_endpoint": None}, "has no token_endpoint"),
        ({"jwks_uri": "http://login.example.com/"}, "has a jwks_uri that cannot be used"),
        ({"jwks_uri": "http://127.0.0.1/"}, "has a jwks_uri that cannot be used"),
        ({"userinfo_endpoint": ""}, "has no userinfo_endpoint"),
        ({"response_types_supported": ["token", 5]}, "none of code"),
        ({"code_challenge_methods_supported": []}, "none of S256"),
        ({"id_token_signing_alg_values_supported": ["HS256"]}, "none of ES256, EdDSA, PS256, RS256"),
    ],
)
def test_what_is_refused(changes, message):
    with pytest.raises(ProviderError, match=message):
        parsed(**changes)


def test_http_on_this_machine_where_it_is_allowed():
    local = {**KEYCLOAK, "token_endpoint": "http://127.0.0.1:1/token"}
    metadata = parse_metadata(json.dumps(local).encode(), ISSUER, plain_on_loopback=True)
    assert metadata.token_endpoint == "http://127.0.0.1:1/token"
