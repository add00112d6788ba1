# SPDX-License-Identifier: Apache-2.0
"""A provider, or who pretends to be one, misbehaves (threats E1 to E5): nobody gets in, and it is audited."""

import hmac
import json
from collections.abc import Callable

import attrs
import jwt
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mezite.net.guarded_client import GuardedClient
from mezite.services.errors import UnauthenticatedError, UnavailableError
from mezite.storage import users
from tests.services.sso.identity_provider import (
    GONE,
    FakeOidc,
    Reply,
    b64,
    public_jwk,
    serving,
    signing_key,
)
from tests.services.sso.world import Visitor, connect, open_world_sso
from tests.services.world import START, copy_template, open_world

NOW = START // 1000
METADATA = "http://169.254.169.254/latest/meta-data/"
OTHER_KEY = ec.generate_private_key(ec.SECP256R1())
SMALL_KEY = rsa.generate_private_key(65537, 1024)


@attrs.frozen(kw_only=True)
class Case:
    """One misbehaviour, and the words with which it is refused."""

    words: str
    setup: Callable[[FakeOidc], object] = lambda idp: None
    callback: Callable[[list], list] = list
    spec: Callable[[FakeOidc], dict] = lambda idp: {}
    at_start: bool = False
    """Refused before the browser leaves: nothing is audited, for nobody has tried to get in."""
    seconds: float = 10.0
    """What the provider gets for an answer."""


def claims(words: str, **changes: object) -> Case:
    return Case(words=words, setup=lambda idp: idp.claims.update(changes))


def header(words: str, **changes: object) -> Case:
    return Case(words=words, setup=lambda idp: idp.header.update(changes))


def discovery(words: str, **changes: object) -> Case:
    return Case(words=words, setup=lambda idp: idp.discovery.update(changes), at_start=True)


def jwks(words: str, *keys: dict) -> Case:
    return Case(words=words, setup=lambda idp: setattr(idp, "jwks", list(keys)))


def answers(words: str, path: str, reply: Reply, **options: object) -> Case:
    return Case(words=words, setup=lambda idp: idp.overrides.update({path: lambda _: reply}), **options)


def token(words: str, **changes: object) -> Case:
    return Case(words=words, setup=lambda idp: idp.token.update(changes))


def forged(words: str, forge: Callable[[dict, dict], str], **options: object) -> Case:
    return Case(words=words, setup=lambda idp: setattr(idp, "forge", forge), **options)


def callback(words: str, change: Callable[[list], list]) -> Case:
    return Case(words=words, callback=change)


def compact(header: dict, claims: dict, signature: bytes = b"x") -> str:
    return ".".join((b64(json.dumps(header).encode()), b64(json.dumps(claims).encode()), b64(signature)))


def with_shared_secret(header: dict, claims: dict) -> str:
    """HS256 with the text of the public key for the secret."""
    secret = signing_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    text = compact({**header, "alg": "HS256"}, claims).rpartition(".")[0]
    return f"{text}.{b64(hmac.digest(secret, text.encode(), 'sha256'))}"


def signed_by(key: object, algorithm: str, **members: object) -> Callable[[dict, dict], str]:
    return lambda header, claims: jwt.encode(
        claims, key, algorithm=algorithm, headers={"kid": header["kid"], **members}
    )


def without_signature(header: dict, claims: dict) -> str:
    return compact({**header, "alg": "none"}, claims).rpartition(".")[0] + "."


def other_claims_same_signature(header: dict, claims: dict) -> str:
    honest = jwt.encode(claims, signing_key(), algorithm="ES256", headers={"kid": header["kid"]})
    first, _, last = honest.split(".")
    return ".".join((first, b64(json.dumps({**claims, "sub": "root"}).encode()), last))


def es256(header: dict, text: str) -> str:
    """Signed as it is, also what no library would sign."""
    signed = f"{b64(json.dumps(header).encode())}.{b64(text.encode())}"
    algorithm = jwt.algorithms.ECAlgorithm(jwt.algorithms.ECAlgorithm.SHA256)
    return f"{signed}.{b64(algorithm.sign(signed.encode(), signing_key()))}"


def twice_the_subject(header: dict, claims: dict) -> str:
    return es256(header, json.dumps(claims)[:-1] + ', "sub": "root"}')


def issuer_in_a_list(header: dict, claims: dict) -> str:
    return es256(header, json.dumps({**claims, "iss": [claims["iss"]]}))


def own_key(**members: object) -> dict:
    return public_jwk(signing_key(), kid="k1", **members)


def replaced(name: str, value: str | None) -> Callable[[list], list]:
    def change(parameters: list) -> list:
        rest = [(key, each) for key, each in parameters if key != name]
        return rest if value is None else [*rest, (name, value)]

    return change


def doubled(name: str) -> Callable[[list], list]:
    return lambda parameters: [*parameters, *((key, value) for key, value in parameters if key == name)]


HTML = Reply(b"<html><body>Log in here</body></html>")
REDIRECT = Reply(b"", status=302, headers=((b"location", METADATA.encode()),))
SLOW = Reply(b"{}", seconds=3600)
HUGE = Reply(b" " * 300_000)

CASES = {
    # What the token says (E2).
    "another issuer": claims("of the issuer 'https://evil.example'", iss="https://evil.example"),
    "an issuer with a slash more": Case(
        words="of the issuer", setup=lambda idp: idp.claims.update(iss=idp.url + "/")
    ),
    "no issuer": claims("of the issuer None", iss=GONE),
    "an issuer in a list": forged("of the issuer", issuer_in_a_list),
    "another audience": claims("is for 'grafana', not for this client", aud="grafana"),
    "an audience that contains ours": claims("not for this client", aud="mezite-staging"),
    "no audience": claims("is for None", aud=GONE),
    "an audience that is no text": claims("not for this client", aud=["mezite", {"x": 1}]),
    "several audiences without a party": claims("was given to None", aud=["mezite", "grafana"]),
    "another authorised party": claims("was given to 'grafana'", azp="grafana"),
    "another party among several audiences": claims(
        "was given to 'grafana'", aud=["mezite", "grafana"], azp="grafana"
    ),
    "another nonce": claims("is of another login", nonce="nonce"),
    "no nonce": claims("is of another login", nonce=GONE),
    "a nonce in a list": claims("is of another login", nonce=["nonce"]),
    "expired": claims("has expired", exp=NOW - 61),
    "no expiry": claims("exp is not a time", exp=GONE),
    "an expiry in words": claims("exp is not a time", exp="tomorrow"),
    "an expiry that is true": claims("exp is not a time", exp=True),
    "an expiry beyond all numbers": claims("exp is not a time", exp=1e300),
    "issued in the future": claims("issued in the future", iat=NOW + 61),
    "no time of issue": claims("iat is not a time", iat=GONE),
    "not valid yet": claims("not valid yet", nbf=NOW + 61),
    "no subject": claims("sub is not a name", sub=GONE),
    "an empty subject": claims("sub is not a name", sub=""),
    "a subject that is a number": claims("sub is not a name", sub=1),
    "an endless subject": claims("sub is not a name", sub="x" * 256),
    "a subject with a line break": claims("sub is not a name", sub="u\n1"),
    "another access token": claims("access token is not the one", at_hash="AAAA"),
    "the subject twice": forged("not JSON, or ambiguous", twice_the_subject),
    # How it is signed (E1).
    "no signature": forged("not three parts", without_signature),
    "alg none with a signature": forged(
        "signed with 'none'", lambda header, claims: compact({**header, "alg": "none"}, claims)
    ),
    "alg None in capitals": forged(
        "signed with 'NONE'", lambda header, claims: compact({**header, "alg": "NONE"}, claims)
    ),
    "no alg": forged("signed with None", lambda header, claims: compact({"kid": "k1"}, claims)),
    "alg in a list": forged(
        "signed with", lambda header, claims: compact({**header, "alg": ["ES256"]}, claims)
    ),
    "HS256 with the public key": forged("signed with 'HS256'", with_shared_secret),
    "RS256 with an EC key": forged(
        "does not publish for this algorithm",
        lambda header, claims: compact({**header, "alg": "RS256"}, claims),
    ),
    "another key of the same name": forged("signature is wrong", signed_by(OTHER_KEY, "ES256")),
    "an unknown key": forged("does not publish", signed_by(OTHER_KEY, "ES256", kid="k2")),
    "a kid that is a path": header("does not publish", kid="../../dev/null"),
    "a kid that is a query": header("does not publish", kid="' OR 1=1 --"),
    "a kid that is a number": forged(
        "kid is not text", lambda header, claims: compact({**header, "kid": 1}, claims)
    ),
    "the key in the header": forged(
        "signature is wrong", signed_by(OTHER_KEY, "ES256", jwk=public_jwk(OTHER_KEY))
    ),
    "the key at a URL": forged(
        "signature is wrong", signed_by(OTHER_KEY, "ES256", jku="https://evil.example/jwks", x5u=METADATA)
    ),
    "critical extensions": forged(
        "header has crit", lambda header, claims: compact({**header, "crit": ["x"]}, claims)
    ),
    "unencoded": forged("header has b64", lambda header, claims: compact({**header, "b64": False}, claims)),
    "compressed": forged("header has zip", lambda header, claims: compact({**header, "zip": "DEF"}, claims)),
    "an access token for an ID token": forged(
        "is of the type 'at\\+jwt'", signed_by(signing_key(), "ES256", typ="at+jwt")
    ),
    "another subject under the signature": forged("signature is wrong", other_claims_same_signature),
    "five parts": forged("not three parts", lambda header, claims: compact(header, claims) + ".a.b"),
    "padding": forged("not three parts", lambda header, claims: compact(header, claims) + "="),
    "an endless token": forged(
        "too long", lambda header, claims: compact(header, {**claims, "x": "x" * 20_000})
    ),
    "a token that is no JSON": forged("not JSON", lambda *_: f"{b64(b'x')}.{b64(b'y')}.{b64(b'z')}"),
    # The keys.
    "no key": jwks("no key that is good"),
    "a shared secret among the keys": jwks(
        "no key that is good", {"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}
    ),
    "a private key published": jwks("no key that is good", own_key(d="AAAA")),
    "a key for encryption": jwks("no key that is good", own_key(use="enc")),
    "a key that may not verify": jwks("no key that is good", own_key(key_ops=["sign"])),
    "a key for another algorithm": jwks("no key that is good", own_key(alg="ES512")),
    "a point that is not on the curve": jwks("no key that is good", own_key(x=b64(b"\1" * 32))),
    "an RSA key of 1024 bits": jwks("no key that is good", public_jwk(SMALL_KEY, kid="k1")),
    "an RSA key of a million bits": jwks(
        "no key that is good", {"kty": "RSA", "kid": "k1", "n": "A" * 170_000, "e": "AQAB"}
    ),
    "two keys of one name": jwks("which of the provider's keys", own_key(), own_key()),
    "no name and two keys": Case(
        words="which of the provider's keys",
        setup=lambda idp: (
            setattr(idp, "jwks", [own_key(), public_jwk(OTHER_KEY, kid="k2")]),
            idp.header.update(kid=GONE),
        ),
    ),
    "a thousand keys": jwks("has 1000 keys", *[own_key()] * 1000),
    "keys in HTML": answers("key set is not JSON", "/jwks", HTML),
    "keys without end": answers("larger than", "/jwks", HUGE),
    "keys that never come": answers("does not answer within", "/jwks", SLOW, seconds=0.1),
    "keys at the metadata service": answers("answers with a redirect", "/jwks", REDIRECT),
    "keys with a failure": answers("answers with status 500", "/jwks", Reply(own_key(), status=500)),
    # The discovery document.
    "a document of another issuer": discovery("document is of the issuer", issuer="https://evil.example"),
    "a document without an issuer": discovery("has no issuer", issuer=GONE),
    "no token endpoint": discovery("has no token_endpoint", token_endpoint=GONE),
    "a token endpoint in the clear": discovery(
        "token_endpoint that cannot be used", token_endpoint="http://x/"
    ),
    "a script for an authorization endpoint": discovery(
        "authorization_endpoint that cannot be used", authorization_endpoint="javascript:alert(1)"
    ),
    "an endpoint that sets the redirect": discovery(
        "parameters that are ours to give",
        authorization_endpoint="https://login.example.com/?redirect_uri=https://evil.example",
    ),
    "keys at a link-local address": Case(
        words="169.254.169.254",
        setup=lambda idp: idp.discovery.update(jwks_uri="https://169.254.169.254/latest/meta-data/"),
    ),
    "only the implicit flow": discovery("none of code in response_types", response_types_supported=["token"]),
    "only plain PKCE": discovery("none of S256", code_challenge_methods_supported=["plain"]),
    "only shared secrets": discovery(
        "none of ES256, EdDSA, PS256, RS256", id_token_signing_alg_values_supported=["HS256", "none"]
    ),
    "a document in HTML": answers(
        "discovery document is not JSON", "/.well-known/openid-configuration", HTML, at_start=True
    ),
    "a document elsewhere": answers(
        "answers with a redirect", "/.well-known/openid-configuration", REDIRECT, at_start=True
    ),
    "a document that never comes": answers(
        "does not answer within", "/.well-known/openid-configuration", SLOW, at_start=True, seconds=0.1
    ),
    "no document": answers(
        "answers with status 404", "/.well-known/openid-configuration", Reply(status=404), at_start=True
    ),
    "a provider in a private network": Case(
        words="private network",
        spec=lambda idp: {"allow_private_network": False, "issuer": idp.url.replace("http:", "https:")},
        at_start=True,
    ),
    # The token endpoint.
    "a failure": answers("answers with status 500", "/token", Reply({"error": "x"}, status=500)),
    "a refusal": answers("'invalid_grant'", "/token", Reply({"error": "invalid_grant"}, status=400)),
    "a refusal with status 200": answers("'invalid_grant'", "/token", Reply({"error": "invalid_grant"})),
    "HTML for a token": answers("is not JSON", "/token", HTML),
    "a list for a token": answers("is not a JSON object", "/token", Reply([])),
    "a token elsewhere": answers("answers with a redirect", "/token", REDIRECT),
    "no ID token": token("not three parts", id_token=GONE),
    "an ID token that is no text": token("id_token is not text", id_token=["x"]),
    "no access token": token("has no access_token", access_token=GONE),
    "an access token with a line break": token("characters that no token has", access_token="a\r\nX-Y: z"),
    "a token of another type": token("of the type 'DPoP'", token_type="DPoP"),
    # Userinfo.
    "userinfo of somebody else": Case(
        words="speaks of somebody else", setup=lambda idp: setattr(idp, "userinfo", {"sub": "u-2"})
    ),
    "userinfo with a failure": Case(
        words="userinfo cannot be had",
        setup=lambda idp: (
            setattr(idp, "userinfo", {}),
            idp.overrides.update({"/userinfo": lambda _: Reply(status=403)}),
        ),
    ),
    # What the browser brings back (E4).
    "an answer of another provider": callback("of another provider", replaced("iss", "https://evil.example")),
    "an answer that does not say whose it is": callback(
        "does not say of which provider", replaced("iss", None)
    ),
    "another state": callback("was not begun in this browser", replaced("state", "0" * 64)),
    "no state": callback("was not begun in this browser", replaced("state", None)),
    "two states": callback("state twice", doubled("state")),
    "two codes": callback("code twice", doubled("code")),
    "two issuers": callback("iss twice", doubled("iss")),
    "another code": callback("refuses the code", replaced("code", "code-of-somebody-else")),
    "no code": callback("has no code", replaced("code", None)),
    "a code with a line break": callback("has no code", replaced("code", "a\nb")),
    "a refusal in the URL": callback(
        "provider refuses: 'access_denied'", lambda given: [*given, ("error", "access_denied")]
    ),
    "a token in the URL": callback("carries id_token", lambda given: [*given, ("id_token", "x")]),
    # Who it is (E5).
    "nobody's groups": Case(words="gives alice a role", setup=lambda idp: idp.person.update(groups=[])),
    "a name that climbs": Case(
        words="cannot be a user name", setup=lambda idp: idp.person.update(preferred_username="../root")
    ),
}


async def outcome(sso, idp: FakeOidc, visitor: Visitor, case: Case) -> str:
    """What the person is told, or that there was nothing to tell."""
    sso.providers.client = GuardedClient(seconds=case.seconds)
    case.setup(idp)
    await connect(sso, idp, **case.spec(idp))
    try:
        url = await visitor.begin()
    except UnavailableError as refused:
        return f"at the start: {refused}"
    try:
        came_back = await visitor.come_back(case.callback(idp.authorize(url)))
    except UnauthenticatedError as refused:
        assert refused.event_id
        return str(refused)
    return f"let in {came_back.signed_in.user.name}"


async def walk(path):
    """Every case on one hub, each with a provider of its own; what was said, and what it left behind."""
    said = {}
    async with open_world(path) as world:
        sso = open_world_sso(world)
        for number, (name, case) in enumerate(CASES.items()):
            async with serving(FakeOidc, lambda: world.clock.now // 1000) as idp:
                visitor = Visitor(sso, idp, client=f"192.0.{number}.7:1")
                said[name] = await outcome(sso, idp, visitor, case)
        events = await world.events("user.login.failed")
        found = {
            name: (said[name], [event for event in events if event["client_ip"] == f"192.0.{number}.7"])
            for number, name in enumerate(CASES)
        }
        assert sum(len(own) for _, own in found.values()) == len(events)
        return {**found, "users": await world.database.read(users.list_all)}


@pytest.fixture(scope="module")
def told(world_template, tmp_path_factory):
    return trio.run(walk, copy_template(world_template, tmp_path_factory.mktemp("hostile")))


@pytest.mark.parametrize("name", CASES)
def test_a_misbehaviour(told, name):
    said, events = told[name]
    case = CASES[name]
    assert case.words.replace("\\", "") in said
    assert said.startswith("at the start:" if case.at_start else "you are not signed in:")
    assert len(events) == (0 if case.at_start else 1)
    for event in events:
        assert (event["success"], event["method"]) == (False, "sso")
        assert said.endswith(event["error_message"])


def test_nobody_was_let_in(told):
    assert told["users"] == []


def test_there_are_enough_of_them():
    assert len(CASES) >= 100
