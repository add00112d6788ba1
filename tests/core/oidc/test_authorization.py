# SPDX-License-Identifier: Apache-2.0
import base64
import hashlib
import json
from urllib.parse import parse_qs, urlsplit

import pytest

from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.authorization import (
    CallbackError,
    RoundTripSecrets,
    authorization_url,
    checked_code,
    parse_token_answer,
    single_value,
    token_request,
)
from mezite.core.oidc.connector_document import parse_connector
from tests.core.oidc.documents import GITHUB, connector

BACK = "https://hub.example.com/v1/webapi/oidc/callback"
SECRETS = RoundTripSecrets.derive("browser", "state")
ISSUER = "https://login.example.com"
GOOD = [("code", "c-1"), ("state", "s"), ("iss", ISSUER)]


def query_of(url):
    return parse_qs(urlsplit(url).query)


def test_secrets_belong_to_one_browser_and_one_state():
    """Threat E4."""
    others = [RoundTripSecrets.derive("other", "state"), RoundTripSecrets.derive("browser", "other")]
    made = {value for each in [SECRETS, *others] for value in (each.nonce, each.verifier)}
    assert len(made) == 6
    assert RoundTripSecrets.derive("browser", "state") == SECRETS
    assert 43 <= len(SECRETS.verifier) <= 128
    digest = hashlib.sha256(SECRETS.verifier.encode()).digest()
    assert base64.urlsafe_b64decode(SECRETS.challenge + "=") == digest


def test_where_the_browser_goes():
    url = authorization_url(f"{ISSUER}/auth", connector(), redirect_url=BACK, state="s", secrets=SECRETS)
    assert url.startswith(f"{ISSUER}/auth?")
    assert query_of(url) == {
        "response_type": ["code"],
        "client_id": ["mezite"],
        "redirect_uri": [BACK],
        "scope": ["openid email groups"],
        "state": ["s"],
        "nonce": [SECRETS.nonce],
        "code_challenge": [SECRETS.challenge],
        "code_challenge_method": ["S256"],
    }


def test_an_endpoint_with_a_query_of_its_own():
    url = authorization_url(f"{ISSUER}/?p=1", connector(), redirect_url=BACK, state="s", secrets=SECRETS)
    assert query_of(url)["p"] == ["1"]
    with pytest.raises(ProviderError, match="parameters that are ours to give"):
        authorization_url(
            f"{ISSUER}/?a=b&state=x", connector(), redirect_url=BACK, state="s", secrets=SECRETS
        )


def test_github_gets_what_it_knows():
    url = authorization_url(
        "https://github.com/x", parse_connector(GITHUB), redirect_url=BACK, state="s", secrets=SECRETS
    )
    assert query_of(url)["scope"] == ["read:org"]
    assert "nonce" not in query_of(url)


def test_a_code():
    assert checked_code(GOOD, issuer=ISSUER, iss_required=True) == "c-1"
    assert checked_code([("code", "c-1")], issuer=ISSUER) == "c-1"
    assert checked_code([("code", "c-1"), ("iss", "whatever")]) == "c-1"
    assert single_value([("a", "1")], "a") == "1"
    assert single_value([], "a") is None


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([("code", "c"), ("iss", "https://evil.example")], "of another provider"),
        ([("code", "c")], "does not say of which provider"),
        ([*GOOD, ("iss", ISSUER)], "iss twice"),
        ([*GOOD, ("code", "c-2")], "code twice"),
        ([*GOOD, ("error", "access_denied")], "refuses: 'access_denied'$"),
        ([*GOOD, ("error", "x"), ("error_description", "no\nway")], r"refuses: 'x' 'no\\nway'"),
        ([*GOOD, ("id_token", "x")], "carries id_token"),
        ([*GOOD, ("access_token", "x")], "carries access_token"),
        ([("iss", ISSUER)], "has no code"),
        ([("iss", ISSUER), ("code", "")], "has no code"),
        ([("iss", ISSUER), ("code", "x" * 4097)], "has no code"),
        ([("iss", ISSUER), ("code", "ä")], "has no code"),
        ([("iss", ISSUER), ("code", "a\r\nb")], "has no code"),
    ],
)
def test_an_answer_that_is_refused(parameters, message):
    with pytest.raises(CallbackError, match=message):
        checked_code(parameters, issuer=ISSUER, iss_required=True)


def form_of(body):
    return {key: value for key, (value,) in parse_qs(body.decode(), keep_blank_values=True).items()}


def test_redeeming():
    given = {"code": "c", "redirect_url": BACK, "verifier": "v"}
    wanted = {"grant_type": "authorization_code", "code": "c", "redirect_uri": BACK, "code_verifier": "v"}
    odd = connector(client_id="a b:c", client_secret="p&q:ü")
    headers, body = token_request(odd, **given, secret_in_body=False)
    assert form_of(body) == wanted
    scheme, _, pair = dict(headers)["authorization"].partition(" ")
    assert (scheme, base64.b64decode(pair)) == ("Basic", b"a+b%3Ac:p%26q%3A%C3%BC")
    headers, body = token_request(odd, **given, secret_in_body=True)
    assert form_of(body) == {**wanted, "client_id": "a b:c", "client_secret": "p&q:ü"}
    assert "authorization" not in dict(headers)
    for in_body in (True, False):
        headers, body = token_request(connector(client_secret=None), **given, secret_in_body=in_body)
        assert form_of(body) == {**wanted, "client_id": "mezite"}
        assert "authorization" not in dict(headers)


def test_a_token_answer():
    body = json.dumps({"access_token": "at", "token_type": "bearer", "id_token": "a.b.c"}).encode()
    answer = parse_token_answer(200, body)
    assert (answer.access_token.reveal(), answer.id_token) == ("at", "a.b.c")
    assert "at" not in repr(answer.access_token)
    assert parse_token_answer(200, b'{"access_token": "at", "token_type": "Bearer"}').id_token == ""


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (500, b"", "status 500"),
        (503, b'{"error": "x"}', "status 503"),
        (
            400,
            b'{"error": "invalid_grant", "error_description": "gone"}',
            "refuses the code: 'invalid_grant' 'gone'",
        ),
        (200, b'{"error": "bad_verification_code"}', "refuses the code: 'bad_verification_code'"),
        (403, b"{}", "refuses the code: status 403"),
        (200, b"<html>", "not JSON"),
        (200, b"{}", "has no token_type"),
        (200, b'{"token_type": "mac"}', "of the type 'mac'"),
        (200, b'{"token_type": "bearer"}', "has no access_token"),
        (200, b'{"token_type": "bearer", "access_token": "a b"}', "characters that no token has"),
        (200, b'{"token_type": "bearer", "access_token": "a\\u0000"}', "characters that no token has"),
        (200, b'{"token_type": "bearer", "access_token": "a", "id_token": 5}', "id_token is not text"),
    ],
)
def test_a_token_answer_that_is_none(status, body, message):
    with pytest.raises(ProviderError, match=message):
        parse_token_answer(status, body)
