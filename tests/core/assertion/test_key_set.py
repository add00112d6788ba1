# SPDX-License-Identifier: Apache-2.0
"""Which keys of a published set may have signed an assertion (threat E1)."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.assertion.key_set import AssertionKeys, InvalidKeySetError
from mezite.core.certificates.jwk import public_jwk
from tests.core.assertion.forging import JWK, KEY, without

OTHER = public_jwk(ec.derive_private_key(4712, ec.SECP256R1()).public_key())


def parse(*records):
    return AssertionKeys.parse(json.dumps({"keys": list(records)}))


def test_a_key_set():
    keys = parse(JWK, OTHER)
    assert set(keys.by_id) == {JWK["kid"], OTHER["kid"]}
    assert keys.by_id[JWK["kid"]] == KEY.public_key()
    assert AssertionKeys.parse(json.dumps({"keys": [JWK], "more": 1}).encode()).by_id.keys() == {JWK["kid"]}


def test_a_key_set_shows_the_ids_only():
    assert repr(parse(JWK)) == f"AssertionKeys(by_id=['{JWK['kid']}'])"


def test_use_and_algorithm_may_be_left_out():
    assert parse(without(JWK, "use", "alg")).by_id.keys() == {JWK["kid"]}


@pytest.mark.parametrize(
    "record",
    [
        None,
        "text",
        [],
        {},
        without(JWK, "kid"),
        {**JWK, "kid": 7},
        {**JWK, "kty": "RSA"},
        without(JWK, "kty"),
        {**JWK, "crv": "P-384"},
        without(JWK, "crv"),
        {**JWK, "alg": "HS256"},
        {**JWK, "alg": None},
        {**JWK, "use": "enc"},
        {**JWK, "d": "secret"},
        without(JWK, "x"),
        without(JWK, "y"),
        {**JWK, "x": 5},
        {**JWK, "x": JWK["x"][:-1]},
        {**JWK, "x": JWK["x"] + "A"},
        {**JWK, "x": JWK["x"][:5] + "!" + JWK["x"][5:]},
        {**JWK, "x": "+" + JWK["x"][1:]},
        {**JWK, "y": "\u00e9" + JWK["y"][1:]},
        {**JWK, "y": "=" * 43},
        {**JWK, "y": JWK["x"]},
        {**JWK, "x": "_" * 43},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "x", "alg": "HS256"},
    ],
)
def test_other_keys_are_left_out(record):
    assert parse(record, OTHER).by_id.keys() == {OTHER["kid"]}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "^the key set is not JSON"),
        (b"\xff", "not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 100_000, "not JSON"),
        ("{}", "no list"),
        ('{"keys": {}}', "no list"),
        ('{"keys": [], "keys": []}', "ambiguous"),
        ('{"keys": []}', "^the key set has no key for ES256 with a kid$"),
        ('{"keys": [{"kty": "RSA"}]}', "no key for ES256"),
        (json.dumps({"keys": [JWK] * 2}), "^two keys of the key set have the same kid$"),
        (json.dumps({"keys": [None] * 16 + [JWK]}), "at most 16"),
    ],
)
def test_what_is_no_key_set_is_refused(document, message):
    with pytest.raises(InvalidKeySetError, match=message):
        AssertionKeys.parse(document)


def test_as_many_keys_as_there_may_be():
    assert len(parse(*[None] * 15, JWK).by_id) == 1
