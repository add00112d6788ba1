# SPDX-License-Identifier: Apache-2.0
"""Claim: whatever a provider answers is refused, or is what it must be: a discovery document of the very issuer with
https endpoints, keys that are good for an algorithm we take, a token answer whose token fits a header field, and
claims that give a user a name, roles and traits which a certificate can hold.

Allowed exceptions: ProviderError, from the readers of answers; ClaimsRefusedError, from the mapping.
"""

import contextlib
import json

from mezite.core.certificates.identity import encode_traits
from mezite.core.names import check_user_name
from mezite.core.oidc.answers import ProviderError, parse_object
from mezite.core.oidc.authorization import checked_code, parse_token_answer
from mezite.core.oidc.claim_mapping import ClaimsRefusedError, map_claims
from mezite.core.oidc.connector_document import parse_connector
from mezite.core.oidc.discovery import parse_metadata
from mezite.core.oidc.key_set import ALGORITHMS, parse_key_set

ISSUER = "https://id.example.com"
CONNECTOR = parse_connector(
    {
        "kind": "oidc",
        "version": "v1",
        "metadata": {"name": "corp"},
        "spec": {
            "issuer": ISSUER,
            "client_id": "mezite",
            "claims_to_roles": [{"claim": "groups", "value": "^dev-.*$", "roles": ["access"]}],
            "claims_to_traits": [
                {"claim": "groups", "trait": "groups"},
                {"claim": "user", "trait": "logins"},
            ],
        },
    }
)


def check(data: bytes) -> None:
    """Which reader, and what it gets."""
    readers = (check_metadata, check_keys, check_token_answer, check_claims, check_callback)
    with contextlib.suppress(ProviderError, ClaimsRefusedError):
        readers[int.from_bytes(data[:1], "big") % len(readers)](data[1:])


def check_metadata(body: bytes) -> None:
    metadata = parse_metadata(body, ISSUER)
    assert metadata.issuer == ISSUER
    endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
    for url in (*endpoints, metadata.userinfo_endpoint or ISSUER):
        assert url.startswith("https://")
        assert url.isprintable()


def check_keys(body: bytes) -> None:
    for key in parse_key_set(body).keys:
        assert key.algorithms
        assert set(key.algorithms) <= set(ALGORITHMS)
        assert not key.verifies(key.algorithms[0], b"anything", b"nothing")


def check_token_answer(body: bytes) -> None:
    answer = parse_token_answer(200, body)
    assert answer.access_token.reveal().isascii()
    assert answer.access_token.reveal().isprintable()


def check_claims(body: bytes) -> None:
    user = map_claims(CONNECTOR, parse_object(body, "the claims"))
    check_user_name(user.name)
    assert user.roles == ("access",)
    encode_traits(user.traits)


def check_callback(body: bytes) -> None:
    text = body.decode("utf-8", "surrogateescape")
    pairs = [(name, value) for name, _, value in (part.partition("=") for part in text.split("&"))]
    code = checked_code(pairs, issuer=ISSUER, iss_required=True)
    assert ("iss", ISSUER) in pairs
    assert [value for name, value in pairs if name == "code"] == [code]
    json.dumps(code)
