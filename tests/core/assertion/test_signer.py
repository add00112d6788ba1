# SPDX-License-Identifier: Apache-2.0
"""What is signed reads the same in another library, and is never longer than it may be."""

import json

import attrs
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from mezite.core.assertion.signer import MAX_TOKEN, AssertionSigner, AssertionTooLongError
from mezite.core.certificates.keys import InvalidKeyError
from tests.core.assertion.forging import AUDIENCE, BODY, CLAIMS, HEADER, JWK, KEY


def sign(claims):
    return AssertionSigner(KEY).sign(claims)


def read(token):
    """As PyJWT reads it."""
    key = jwt.PyJWK.from_dict(JWK).key
    checks = {"verify_exp": False, "verify_aud": False, "verify_iat": False, "verify_nbf": False}
    return jwt.decode(token, key, algorithms=["ES256"], options=checks)


def test_an_assertion():
    assertion = sign(CLAIMS)
    assert jwt.get_unverified_header(assertion.token) == HEADER
    assert read(assertion.token) == BODY
    assert assertion.roles == CLAIMS.roles
    assert AssertionSigner(KEY).key_id == JWK["kid"]


def test_the_header_and_the_claims_have_no_blanks():
    header, body, _ = sign(CLAIMS).token.split(".")
    for part in (header, body):
        text = jwt.utils.base64url_decode(part).decode()
        assert text == json.dumps(json.loads(text), separators=(",", ":"))


def test_other_curves_are_refused():
    with pytest.raises(InvalidKeyError, match="P-256"):
        AssertionSigner(ec.generate_private_key(ec.SECP384R1()))


def test_two_hundred_roles():
    """As many as fit, the first ones; how many there are besides is said."""
    roles = tuple(f"role-{number:03}" for number in range(200))
    assertion = sign(attrs.evolve(CLAIMS, roles=roles))
    body = read(assertion.token)
    assert tuple(body["roles"]) == assertion.roles == roles[: len(assertion.roles)]
    assert body["roles_omitted"] == 200 - len(assertion.roles)
    assert MAX_TOKEN - 30 < len(assertion.token) <= MAX_TOKEN
    assert len(assertion.roles) == 72


def test_a_role_more_or_less_at_the_very_limit():
    """The longest token there can be has MAX_TOKEN bytes, and one character more takes a role away."""
    fitting, lengths = {}, set()
    for size in range(1, 65):
        roles = (*(f"{number:02}" + "r" * 58 for number in range(12)), "x" * size)
        assertion = sign(attrs.evolve(CLAIMS, roles=roles))
        assert len(assertion.token) <= MAX_TOKEN
        fitting[size] = len(assertion.roles)
        if len(assertion.roles) == 13:
            lengths.add(len(assertion.token))
            assert "roles_omitted" not in read(assertion.token)
        else:
            assert read(assertion.token)["roles_omitted"] == 13 - len(assertion.roles)
    assert max(lengths) in (MAX_TOKEN, MAX_TOKEN - 1)
    assert sorted(fitting.values(), reverse=True) == list(fitting.values())
    assert set(fitting.values()) == {13, 12}


@settings(max_examples=50)
@given(
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9_.-]{0,63}", fullmatch=True), max_size=60),
    st.integers(min_value=1, max_value=400),
)
def test_an_assertion_is_never_longer(roles, size):
    claims = attrs.evolve(CLAIMS, roles=tuple(roles), audience="http://" + "a" * size)
    assertion = sign(claims)
    assert len(assertion.token) <= MAX_TOKEN
    omitted = read(assertion.token).get("roles_omitted", 0)
    assert len(assertion.roles) + omitted == len(roles)
    if omitted:
        # No role more would have fitted: its name, its quotes and its comma are more than what is left.
        room = (MAX_TOKEN - len(assertion.token) + 3) * 3 // 4
        assert len(roles[len(assertion.roles)]) + 3 + len(',"roles_omitted":60') > room - 4


def test_an_address_that_leaves_no_room():
    names = {"subject": "u" * 128, "roles": ("admin",)}
    longest = next(
        size
        for size in range(1000, 0, -1)
        if not refused(attrs.evolve(CLAIMS, audience=AUDIENCE + "/" * size, **names))
    )
    assertion = sign(attrs.evolve(CLAIMS, audience=AUDIENCE + "/" * longest, **names))
    assert MAX_TOKEN - 20 < len(assertion.token) <= MAX_TOKEN
    assert longest > 512, "the longest URI that an application may have"
    with pytest.raises(
        AssertionTooLongError, match=r"http://127.0.0.1:3000//+ would be longer .* shorter URI"
    ):
        sign(attrs.evolve(CLAIMS, audience=AUDIENCE + "/" * (longest + 1), **names))


def refused(claims):
    try:
        sign(claims)
    except AssertionTooLongError:
        return True
    return False
