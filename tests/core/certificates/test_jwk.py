# SPDX-License-Identifier: Apache-2.0
import base64
import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.certificates.jwk import key_id, public_jwk
from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256


def test_a_library_checks_assertions_with_it():
    key = generate_p256()
    jwk = public_jwk(key.public_key())
    token = jwt.encode({"sub": "alice"}, key, algorithm="ES256", headers={"kid": jwk["kid"]})
    found = jwt.PyJWKSet.from_dict({"keys": [jwk]})[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, found.key, algorithms=["ES256"]) == {"sub": "alice"}
    assert set(jwk) == {"kty", "crv", "x", "y", "use", "alg", "kid"}


def test_the_id_is_the_thumbprint_of_rfc_7638():
    public = generate_p256().public_key()
    jwk = public_jwk(public)
    assert jwk["kid"] == key_id(public)
    assert len(jwk["kid"]) == 43
    assert key_id(generate_p256().public_key()) != key_id(public)


def test_a_coordinate_keeps_its_leading_zeros():
    for secret in range(1, 2000):
        public = ec.derive_private_key(secret, ec.SECP256R1()).public_key()
        if public.public_numbers().x < 1 << 248:
            break
    x = base64.urlsafe_b64decode(public_jwk(public)["x"] + "=")
    assert len(x) == 32
    assert x[0] == 0
    assert json.dumps(public_jwk(public)).isascii()


def test_the_key_of_rfc_9449():
    """The proof key of section 4.2, whose thumbprint is in section 6.1."""
    x, y = "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs", "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA"
    numbers = (int.from_bytes(base64.urlsafe_b64decode(text + "="), "big") for text in (x, y))
    public = ec.EllipticCurvePublicNumbers(*numbers, ec.SECP256R1()).public_key()
    assert public_jwk(public) == {
        "kty": "EC",
        "crv": "P-256",
        "x": x,
        "y": y,
        "use": "sig",
        "alg": "ES256",
        "kid": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I",
    }


@pytest.mark.parametrize("key", [generate_ed25519(), ec.generate_private_key(ec.SECP384R1())])
def test_other_keys_are_refused(key):
    with pytest.raises(InvalidKeyError, match="P-256"):
        public_jwk(key.public_key())
