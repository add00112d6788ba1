# SPDX-License-Identifier: Apache-2.0
"""Each claim missing, wrong and of another type, and each way to be taken for a signature (threats E1, E2)."""

import json

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.assertion.refusal import AssertionReason, AssertionRefused
from mezite.core.assertion.signer import AssertionSigner
from mezite.core.assertion.verifier import LEEWAY_S, Caller, key_id_of, verify_assertion
from mezite.core.certificates.jwk import public_jwk
from mezite.core.certificates.keys import public_key_pem
from tests.core.assertion.forging import (
    AUDIENCE,
    BODY,
    CLAIMS,
    HEADER,
    ISSUER,
    JWK,
    KEY,
    KEYS,
    NOW,
    b64,
    forged,
    without,
)

TOKEN = AssertionSigner(KEY).sign(CLAIMS).token
STRANGER = ec.derive_private_key(666, ec.SECP256R1())
ALICE = Caller(
    user="alice",
    roles=("access", "auditor"),
    roles_omitted=0,
    app="grafana",
    issuer=ISSUER,
    expires_at=NOW + 60,
    jti="id-1",
)


def verified(token, keys=KEYS, audience=AUDIENCE, now=NOW, **options):
    return verify_assertion(token, keys, audience=audience, now=now, **options)


def refusal(token, *args, **options):
    with pytest.raises(AssertionRefused) as refused:
        verified(token, *args, **options)
    assert refused.value.message.isprintable()
    assert len(refused.value.message) < 600
    return refused.value


@pytest.mark.parametrize("token", [TOKEN, TOKEN.encode(), forged()])
def test_a_good_one(token):
    assert verified(token) == ALICE
    assert verified(token, issuer=ISSUER) == ALICE
    assert key_id_of(token) == JWK["kid"]


def test_roles_that_did_not_fit_are_counted():
    assert verified(forged({**BODY, "roles": [], "roles_omitted": 200})).roles_omitted == 200


@pytest.mark.parametrize("token", [None, "", b""])
def test_none_at_all(token):
    refused = refusal(token)
    assert refused.reason is AssertionReason.MISSING
    assert "has not come through a hub" in refused.message


def test_the_audience_is_required():
    with pytest.raises(TypeError, match="audience"):
        verify_assertion(TOKEN, KEYS, now=NOW)
    with pytest.raises(
        ValueError, match=r"^the audience is this application's internal URI: it cannot be empty$"
    ):
        verified(TOKEN, audience="")
    with pytest.raises(ValueError, match="cannot be empty"):
        verified(forged({**BODY, "aud": ""}), audience="")


@pytest.mark.parametrize(
    "audience",
    [
        "http://127.0.0.1:3000/",
        "http://127.0.0.1:300",
        "HTTP://127.0.0.1:3000",
        "http://127.0.0.1:3000 ",
        [AUDIENCE],
        [AUDIENCE, "http://other"],
        {AUDIENCE: 1},
        None,
        True,
    ],
)
def test_another_applications(audience):
    refused = refusal(forged({**BODY, "aud": audience}))
    assert refused.reason is AssertionReason.WRONG_AUDIENCE
    assert "not for 'http://127.0.0.1:3000'" in refused.message


def test_no_audience():
    assert refusal(forged(without(BODY, "aud"))).reason is AssertionReason.WRONG_AUDIENCE


@pytest.mark.parametrize("app", ["wiki", "grafana2", "Grafana", "", None, ["grafana"]])
def test_another_application_with_the_same_uri(app):
    """Threats E3, D22: `http://127.0.0.1:3000` is somebody else on every machine, and may be hostile on one."""
    token = forged({**BODY, "app": app})
    refused = refusal(token, app="grafana")
    assert refused.reason is AssertionReason.WRONG_APP
    assert "not for 'grafana'" in refused.message
    assert refusal(forged(without(BODY, "app")), app="grafana").reason is AssertionReason.WRONG_APP
    assert verified(TOKEN, app="grafana") == ALICE


@pytest.mark.parametrize("issuer", ["https://hub.example.com/", "https://hub", None, [ISSUER]])
def test_another_hubs(issuer):
    refused = refusal(forged({**BODY, "iss": issuer}), issuer=ISSUER)
    assert refused.reason is AssertionReason.WRONG_ISSUER
    assert "not by 'https://hub.example.com'" in refused.message
    assert refusal(forged(without(BODY, "iss")), issuer=ISSUER).reason is AssertionReason.WRONG_ISSUER


def test_another_issuer_is_taken_when_none_is_wanted():
    assert verified(forged({**BODY, "iss": "https://other"})).issuer == "https://other"


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (NOW - LEEWAY_S - 0.1, AssertionReason.NOT_YET_VALID),
        (NOW - LEEWAY_S, None),
        (NOW + 60 + LEEWAY_S - 0.1, None),
        (NOW + 60 + LEEWAY_S, AssertionReason.EXPIRED),
    ],
)
def test_its_time(now, reason):
    if reason is None:
        assert verified(TOKEN, now=now) == ALICE
    else:
        assert refusal(TOKEN, now=now).reason is reason


def test_the_message_about_time_says_how_far_off():
    assert "expired 90 s ago" in refusal(TOKEN, now=NOW + 150).message
    assert "they last 60 s" in refusal(TOKEN, now=NOW + 150).message
    assert "for another 100 s" in refusal(TOKEN, now=NOW - 100).message


@pytest.mark.parametrize("leeway", [0, 5])
def test_the_leeway_is_the_callers(leeway):
    assert verified(TOKEN, now=NOW - leeway, leeway=leeway)
    assert verified(TOKEN, now=NOW + 59.9 + leeway, leeway=leeway)
    assert refusal(TOKEN, now=NOW - leeway - 0.1, leeway=leeway).reason is AssertionReason.NOT_YET_VALID
    assert refusal(TOKEN, now=NOW + 60 + leeway, leeway=leeway).reason is AssertionReason.EXPIRED


@pytest.mark.parametrize("name", ["nbf", "iat"])
def test_the_later_beginning_counts(name):
    later = forged({**BODY, name: NOW + LEEWAY_S + 1, "exp": NOW + 100})
    assert refusal(later).reason is AssertionReason.NOT_YET_VALID
    assert verified(forged({**BODY, name: NOW + LEEWAY_S}))


@pytest.mark.parametrize(
    "body",
    [
        *(
            {**BODY, name: value}
            for name in ("exp", "nbf", "iat")
            for value in ("1800000000", None, True, -1)
        ),
        *(without(BODY, name) for name in ("exp", "nbf", "iat", "sub", "roles", "jti", "app", "iss")),
        *({**BODY, name: value} for name in ("sub", "jti", "app", "iss") for value in ("", 7, None, ["x"])),
        json.dumps(BODY).replace(str(NOW + 60), "1e999"),
        json.dumps(BODY).replace(str(NOW + 60), str(2**53)),
        json.dumps(BODY).replace(str(NOW + 60), "Infinity"),
        json.dumps(BODY).replace(str(NOW + 60), "NaN"),
        {**BODY, "roles": "admin"},
        {**BODY, "roles": {"admin": 1}},
        {**BODY, "roles": ["access", 7]},
        {**BODY, "roles": None},
        {**BODY, "roles_omitted": "3"},
        {**BODY, "roles_omitted": True},
        {**BODY, "roles_omitted": -1},
        {**BODY, "roles_omitted": 1.0},
        json.dumps(BODY)[:-1] + ', "sub": "root"}',
        '{"sub": ' + "[" * 3000,
        "[]",
        "null",
        '"text"',
        "",
        "\x00",
    ],
)
def test_claims_that_are_missing_or_of_another_kind(body):
    assert refusal(forged(body)).reason is AssertionReason.MALFORMED


def test_every_time_that_a_number_can_be():
    body = {**BODY, "exp": 2**53 - 1, "nbf": 0, "iat": 0.5}
    assert verified(forged(body)).expires_at == 2**53 - 1
    assert verified(forged({**BODY, "exp": NOW + 59.5})).expires_at == NOW + 59


@pytest.mark.parametrize(
    "algorithm", ["HS256", "none", "None", "ES384", "RS256", "es256", "", None, 7, ["ES256"]]
)
def test_another_algorithm_in_the_header(algorithm):
    header = {**HEADER, "alg": algorithm}
    assert refusal(forged(header=header)).reason is AssertionReason.WRONG_ALGORITHM
    assert refusal(forged(header=without(HEADER, "alg"))).reason is AssertionReason.WRONG_ALGORITHM


@pytest.mark.parametrize(
    "secret",
    [
        public_key_pem(KEY.public_key()),
        public_key_pem(KEY.public_key()).strip(),
        json.dumps(JWK).encode(),
        JWK["x"].encode(),
        JWK["kid"].encode(),
        b"",
    ],
)
@pytest.mark.parametrize("claimed", ["HS256", "ES256"])
def test_the_public_key_is_no_shared_secret(secret, claimed):
    """Threat E1: what is public would let everybody sign."""
    import hashlib
    import hmac

    signed = f"{b64(json.dumps({**HEADER, 'alg': claimed}).encode())}.{b64(json.dumps(BODY).encode())}"
    digest = hmac.digest(secret, signed.encode(), hashlib.sha256)
    reason = refusal(f"{signed}.{b64(digest)}").reason
    assert reason is AssertionReason.MALFORMED, "32 bytes are no signature of ES256"
    reason = refusal(f"{signed}.{b64(digest * 2)}").reason
    wanted = AssertionReason.WRONG_ALGORITHM if claimed == "HS256" else AssertionReason.BAD_SIGNATURE
    assert reason is wanted


@pytest.mark.parametrize("signature", ["", "A" * 86, b64(bytes(64)), b64(b"\xff" * 64)])
@pytest.mark.parametrize("algorithm", ["none", "ES256"])
def test_no_signature(signature, algorithm):
    signed = f"{b64(json.dumps({**HEADER, 'alg': algorithm}).encode())}.{b64(json.dumps(BODY).encode())}"
    reason = refusal(f"{signed}.{signature}").reason
    if not signature:
        assert reason is AssertionReason.MALFORMED
    elif algorithm == "none":
        assert reason is AssertionReason.WRONG_ALGORITHM
    else:
        assert reason is AssertionReason.BAD_SIGNATURE


def test_another_clusters_key():
    header = {**HEADER, "kid": public_jwk(STRANGER.public_key())["kid"]}
    refused = refusal(forged(header=header, key=STRANGER))
    assert refused.reason is AssertionReason.UNKNOWN_KEY
    assert header["kid"] in refused.message


def test_another_key_under_a_known_name():
    assert refusal(forged(key=STRANGER)).reason is AssertionReason.BAD_SIGNATURE


def test_a_key_under_another_keys_name():
    other = public_jwk(STRANGER.public_key())
    keys = AssertionKeys.parse(json.dumps({"keys": [JWK, other]}))
    assert verified(forged(), keys) == ALICE
    assert refusal(forged(key=STRANGER), keys).reason is AssertionReason.BAD_SIGNATURE


def test_a_key_of_another_curve():
    p384 = ec.generate_private_key(ec.SECP384R1())
    token = forged(header={**HEADER, "alg": "ES384"}, key=p384, algorithm="ES384")
    assert refusal(token).reason is AssertionReason.MALFORMED


@pytest.mark.parametrize(
    "header",
    [
        without(HEADER, "typ"),
        {**HEADER, "typ": "jwt"},
        {**HEADER, "typ": "at+jwt"},
        {**HEADER, "typ": None},
        without(HEADER, "kid"),
        {**HEADER, "kid": None},
        {**HEADER, "kid": 7},
        {**HEADER, "kid": [JWK["kid"]]},
        {**HEADER, "jwk": public_jwk(STRANGER.public_key())},
        {**HEADER, "jku": "https://evil.example/keys"},
        {**HEADER, "x5u": "https://evil.example/cert"},
        {**HEADER, "x5c": []},
        {**HEADER, "crit": ["exp"]},
        {**HEADER, "crit": []},
        {**HEADER, "b64": False},
        {**HEADER, "zip": "DEF"},
        {**HEADER, "cty": "JWT"},
        {**HEADER, "enc": "A256GCM"},
        "[]",
        "",
        "null",
        json.dumps(HEADER)[:-1] + ', "alg": "ES256"}',
        '{"alg": "ES256", "kid": ' + "[" * 3000,
    ],
)
def test_headers_that_say_something_else(header):
    assert refusal(forged(header=header)).reason is AssertionReason.MALFORMED
    assert refusal(forged(header=header, key=STRANGER)).reason is AssertionReason.MALFORMED


@pytest.mark.parametrize("kid", ["", "../../etc/passwd", "x' OR '1'='1", "\u202e\n", "k" * 2000])
def test_the_name_of_a_key_is_looked_up_and_nothing_else(kid):
    assert refusal(forged(header={**HEADER, "kid": kid})).reason is AssertionReason.UNKNOWN_KEY


def changed_last(part):
    """The same bytes, spelled with another last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return part[:-1] + alphabet[alphabet.index(part[-1]) + 1]


HEAD, MIDDLE, SIGNATURE = TOKEN.split(".")


@pytest.mark.parametrize(
    "token",
    [
        f"{HEAD}.{MIDDLE}",
        f"{HEAD}.{MIDDLE}.",
        f"{HEAD}.{MIDDLE}.{SIGNATURE}.",
        f"{HEAD}.{MIDDLE}.{SIGNATURE}.{SIGNATURE}",
        f"{HEAD}..{SIGNATURE}",
        f".{MIDDLE}.{SIGNATURE}",
        f"A.{MIDDLE}.{SIGNATURE}",
        f"{HEAD}.{'A' * 401}.{SIGNATURE}",
        f"{HEAD}.{MIDDLE}.{SIGNATURE}=",
        f"{HEAD}.{MIDDLE}.{SIGNATURE}==",
        f"{HEAD}=.{MIDDLE}.{SIGNATURE}",
        f"{HEAD}.{MIDDLE}.{SIGNATURE}\n",
        f" {TOKEN}",
        f"Bearer {TOKEN}",
        f"{HEAD}.{MIDDLE}.{SIGNATURE[:-1]}",
        f"{HEAD}.{MIDDLE}.{SIGNATURE}A",
        f"{HEAD}.{MIDDLE}.{changed_last(SIGNATURE)}",
        f"{HEAD}A.{MIDDLE}.{SIGNATURE}",
        f"{HEAD}.{MIDDLE[:-1]}.{SIGNATURE}",
        TOKEN.replace("_", "/").replace("-", "+") if {"_", "-"} & set(TOKEN) else f"+{TOKEN}",
        f"{HEAD},{MIDDLE},{SIGNATURE}",
        f"{HEAD}.{MIDDLE}.\uff21{SIGNATURE[1:]}",
        "é",
        b"\xff\xfe",
        f"{'A' * 7000}.{'A' * 2000}.{'A' * 86}",
    ],
)
def test_what_is_not_three_parts_in_the_one_spelling(token):
    assert refusal(token).reason is AssertionReason.MALFORMED


def test_longer_than_any_assertion():
    tokens = {
        len(token): token for size in range(5700, 6000) if (token := forged({**BODY, "padding": "x" * size}))
    }
    assert verified(tokens[8192]) == ALICE
    longer = tokens[min(length for length in tokens if length > 8192)]
    assert refusal(longer).reason is AssertionReason.MALFORMED


@pytest.mark.parametrize("index", [0, 1, 2])
def test_any_change_is_noticed(index):
    parts = TOKEN.split(".")
    for position in range(0, len(parts[index]), 3):
        old = parts[index][position]
        new = "A" if old != "A" else "B"
        changed = parts[index][:position] + new + parts[index][position + 1 :]
        refusal(".".join([*parts[:index], changed, *parts[index + 1 :]]))


@given(st.binary(max_size=300) | st.text(max_size=300))
def test_anything_is_refused_in_words(token):
    with pytest.raises(AssertionRefused):
        verified(token)
    with pytest.raises(AssertionRefused):
        key_id_of(token)


DAMAGED = "the assertion is damaged: "


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "there is no assertion: the request has not come through a hub"),
        ("x", DAMAGED + "it is not three parts of base64url, the last of them a signature of 64 bytes"),
        (f"A.{MIDDLE}.{SIGNATURE}", DAMAGED + "a part of it is not base64url"),
        (
            f"{HEAD}.{MIDDLE}.{changed_last(SIGNATURE)}",
            DAMAGED + "a part of it is not base64url in the one way that it is written",
        ),
        (forged(header="[]"), DAMAGED + "its header is not a JSON object"),
        (forged("[]"), DAMAGED + "its second part is not a JSON object"),
        (
            forged(header={**HEADER, "alg": "HS256"}),
            "the assertion is signed with 'HS256'; only ES256 is accepted",
        ),
        (
            forged(header={**HEADER, "crit": []}),
            DAMAGED + "its header says something else than alg, kid and typ: JWT",
        ),
        (forged(header=without(HEADER, "kid")), DAMAGED + "it does not say which key has signed it"),
        (
            forged(header={**HEADER, "kid": "mine"}),
            "the assertion is signed with the key 'mine', which is not in the key set: fetch it anew, and look whether "
            "it is this cluster's",
        ),
        (forged(key=STRANGER), "the assertion's signature is wrong"),
        (forged({**BODY, "iss": "me"}), "the assertion is by 'me', not by 'https://hub.example.com'"),
        (forged({**BODY, "aud": "me"}), "the assertion is for 'me', not for 'http://127.0.0.1:3000'"),
        (forged({**BODY, "exp": "x"}), DAMAGED + "its exp is not a time"),
        (
            forged({**BODY, "exp": NOW - 40}),
            "the assertion has expired 40 s ago: they last 60 s, so that it was either kept too long or one of the two "
            "clocks is wrong",
        ),
        (
            forged({**BODY, "nbf": NOW + 40}),
            "the assertion is not valid for another 40 s: one of the two clocks is wrong",
        ),
        (forged({**BODY, "roles": "admin"}), DAMAGED + "its roles are not a list of names"),
        (forged({**BODY, "roles_omitted": -1}), DAMAGED + "its roles_omitted is not a number"),
        (forged(without(BODY, "sub")), DAMAGED + "it has no sub"),
    ],
)
def test_what_is_said(token, message):
    """To the letter: people search for these sentences."""
    assert refusal(token, issuer=ISSUER).message == message


def test_another_library_agrees():
    """What PyJWT takes with the same demands is what is taken here."""
    key = jwt.PyJWK.from_dict(JWK).key
    claims = jwt.decode(
        TOKEN,
        key,
        algorithms=["ES256"],
        audience=AUDIENCE,
        options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
    )
    assert claims == BODY


def test_backends_get_it_from_the_package_itself():
    import mezite

    assert mezite.verify_assertion is verify_assertion
    assert mezite.AssertionKeys is AssertionKeys
