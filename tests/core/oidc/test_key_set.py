# SPDX-License-Identifier: Apache-2.0
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.key_set import ALGORITHMS, UnknownKeyError, parse_key_set
from tests.core.oidc.signing import b64, jwk, key_for, key_set


def test_the_key_decides_about_the_algorithm():
    """Threat E1."""
    keys = key_set(
        jwk("RS256", kid="r"),
        jwk("ES256", kid="e"),
        jwk("EdDSA", kid="d"),
        jwk("PS256", kid="p", alg="PS256"),
    )
    assert {each.key_id: each.algorithms for each in keys.keys} == {
        "r": ("RS256", "PS256"),
        "e": ("ES256",),
        "d": ("EdDSA",),
        "p": ("PS256",),
    }


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_signatures(algorithm):
    key = key_set(jwk(algorithm, kid="k")).find("k", algorithm)
    signer = jwt.get_algorithm_by_name(algorithm)
    signature = signer.sign(b"text", key_for(algorithm))
    assert key.verifies(algorithm, b"text", signature)
    assert not key.verifies(algorithm, b"another text", signature)
    assert not key.verifies(algorithm, b"text", signature[:-1])
    assert not key.verifies(algorithm, b"text", b"")


def test_finding():
    keys = key_set(jwk("RS256", kid="a"), jwk("ES256", kid="a"), jwk("EdDSA"))
    assert keys.find("a", "ES256").algorithms == ("ES256",)
    assert keys.find(None, "EdDSA").key_id is None
    assert keys.find(None, "ES256").key_id == "a"
    for key_id, algorithm in (("b", "ES256"), ("a", "EdDSA"), ("", "ES256")):
        with pytest.raises(UnknownKeyError):
            keys.find(key_id, algorithm)
    twice = key_set(jwk("ES256", kid="a"), jwk("ES256", kid="b"), jwk("ES256", kid="b"))
    for key_id in (None, "b"):
        with pytest.raises(ProviderError, match="which of the provider's keys"):
            twice.find(key_id, "ES256")


def small_rsa():
    key = rsa.generate_private_key(65537, 1024).public_key()
    return json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key))


def p384():
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    return json.loads(jwt.algorithms.ECAlgorithm.to_jwk(key))


@pytest.mark.parametrize(
    "record",
    [
        None,
        "key",
        {},
        {"kty": "oct", "k": "c2VjcmV0"},
        {"kty": ["RSA"]},
        small_rsa(),
        p384(),
        jwk("ES256", d="AAAA"),
        jwk("RS256", d="AAAA"),
        jwk("ES256", use="enc"),
        jwk("ES256", key_ops=["sign"]),
        *(jwk("ES256", key_ops=odd) for odd in (5, True, "verify", {"verify": 1})),
        jwk("ES256", alg="RS256"),
        jwk("ES256", alg=["ES256"]),
        jwk("ES256", kid=5),
        jwk("ES256", x=b64(b"\1" * 32)),
        jwk("ES256", x="AA"),
        jwk("ES256", x=None),
        jwk("ES256", x=5),
        jwk("EdDSA", x="AA"),
        jwk("RS256", n=None),
        jwk("RS256", n=5),
        jwk("RS256", n="A" * 200_000),
        jwk("RS256", e="A" * 100),
        jwk("RS256", e="AQ"),
    ],
)
def test_a_key_that_is_not_used(record):
    good = jwk("EdDSA", kid="good")
    assert [key.key_id for key in key_set(record, good).keys] == ["good"]
    with pytest.raises(ProviderError, match="no key that is good for RS256, PS256, ES256, EdDSA"):
        key_set(record)


@pytest.mark.parametrize("body", [b"{}", b'{"keys": {}}', b'{"keys": null}'])
def test_what_is_no_key_set(body):
    with pytest.raises(ProviderError, match="no list of keys"):
        parse_key_set(body)


def test_too_many():
    with pytest.raises(ProviderError, match="has 65 keys; 64 are read"):
        key_set(*[jwk("ES256")] * 65)
