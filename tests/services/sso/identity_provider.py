# SPDX-License-Identifier: Apache-2.0
"""Identity providers on loopback, honest unless told otherwise: each part of what they say can be changed."""

import base64
import functools
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import jwt
import trio
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from mezite.core.oidc.connector_document import parse_connector
from mezite.net.http1_server import serve_http1
from tests.loopback import listening

CLIENT_ID, CLIENT_SECRET = "mezite", "s3cret&more"
GONE = object()
"""Takes a claim or member away."""


@functools.cache
def signing_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def public_jwk(key, **members: object) -> dict[str, object]:
    algorithm = ECAlgorithm if isinstance(key, ec.EllipticCurvePrivateKey) else RSAAlgorithm
    record = json.loads(algorithm.to_jwk(key.public_key()))
    return {key: value for key, value in {"use": "sig", **record, **members}.items() if value is not GONE}


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def merged(values: dict, changes: dict) -> dict:
    return {key: value for key, value in {**values, **changes}.items() if value is not GONE}


@attrs.define
class Reply:
    """What a path answers."""

    body: bytes | dict | list = b""
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    seconds: float = 0.0
    """Waits so long first."""

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@attrs.define
class Asked:
    """A request."""

    method: str
    path: str
    query: dict[str, list[str]]
    fields: dict[bytes, bytes]
    form: dict[str, str]


@attrs.define(eq=False)
class FakeProvider:
    """One server. `now` is the wall clock in seconds."""

    url: str
    now: Callable[[], int]
    asked: list[Asked] = attrs.field(factory=list)
    overrides: dict[str, Callable[[Asked], Reply]] = attrs.field(factory=dict)
    """By path, instead of what an honest provider answers."""

    async def __call__(self, scope, receive, send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message.get("more_body"):
                break
        form = {key: values[0] for key, values in parse_qs(body.decode(), keep_blank_values=True).items()}
        query = parse_qs(scope["query_string"].decode())
        asked = Asked(scope["method"], scope["path"], query, dict(scope["headers"]), form)
        self.asked.append(asked)
        reply = self.reply(asked)
        if reply.seconds:
            await trio.sleep(reply.seconds)
        length = (b"content-length", str(len(reply.content)).encode())
        await send(
            {"type": "http.response.start", "status": reply.status, "headers": [length, *reply.headers]}
        )
        await send({"type": "http.response.body", "body": reply.content})

    def reply(self, asked: Asked) -> Reply:
        override = self.overrides.get(asked.path)
        return self.honest(asked) if override is None else override(asked)

    def honest(self, asked: Asked) -> Reply:
        raise NotImplementedError

    def count(self, path: str) -> int:
        return sum(each.path == path for each in self.asked)


@attrs.define(eq=False)
class FakeOidc(FakeProvider):
    """An OpenID provider. One person at a time signs in: whoever `person` is."""

    person: dict[str, object] = attrs.field(
        factory=lambda: {"sub": "u-1", "preferred_username": "alice", "groups": ["platform"]}
    )
    discovery: dict[str, object] = attrs.field(factory=dict)
    claims: dict[str, object] = attrs.field(factory=dict)
    header: dict[str, object] = attrs.field(factory=dict)
    algorithm: str = "ES256"
    key: object = attrs.field(factory=signing_key)
    jwks: list[dict] | None = None
    key_id: str = "k1"
    userinfo: dict[str, object] | None = None
    """Claims that are told there; None: there is no such endpoint."""
    token: dict[str, object] = attrs.field(factory=dict)
    forge: Callable[[dict, dict], str] | None = None
    """Makes the token of header and claims."""
    codes: dict[str, dict[str, str]] = attrs.field(factory=dict)

    def document(self, **spec: object) -> dict:
        rules = [{"claim": "groups", "value": "platform", "roles": ["access"]}]
        return {
            "kind": "oidc",
            "version": "v1",
            "metadata": {"name": "idp"},
            "spec": {
                "issuer": self.url,
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "username_claim": "preferred_username",
                "claims_to_roles": rules,
                "claims_to_traits": [{"claim": "preferred_username", "trait": "logins"}],
                "allow_private_network": True,
                **spec,
            },
        }

    def honest(self, asked: Asked) -> Reply:
        return {
            "/.well-known/openid-configuration": self.metadata,
            "/authorize": self.sign_in,
            "/jwks": self.key_set,
            "/token": self.redeem,
            "/userinfo": self.told,
        }.get(asked.path, lambda _: Reply(status=404))(asked)

    def metadata(self, _asked: Asked) -> Reply:
        document = {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "id_token_signing_alg_values_supported": ["ES256", "RS256"],
            "authorization_response_iss_parameter_supported": True,
            **({} if self.userinfo is None else {"userinfo_endpoint": f"{self.url}/userinfo"}),
        }
        return Reply(merged(document, self.discovery))

    def key_set(self, _asked: Asked) -> Reply:
        keys = [public_jwk(self.key, kid=self.key_id)] if self.jwks is None else self.jwks
        return Reply({"keys": keys})

    def told(self, asked: Asked) -> Reply:
        assert asked.fields[b"authorization"] == b"Bearer at-1"
        return Reply({"sub": self.person["sub"], **(self.userinfo or {})})

    def authorize(self, url: str) -> list[tuple[str, str]]:
        """Sign the person in: what the browser brings back to the hub."""
        parts = urlsplit(url)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/authorize"
        assert (asked["response_type"], asked["client_id"]) == ("code", CLIENT_ID)
        assert asked["code_challenge_method"] == "S256"
        code = f"code-{len(self.codes) + 1}"
        self.codes[code] = asked
        return [("code", code), ("state", asked["state"]), ("iss", self.url)]

    def sign_in(self, asked: Asked) -> Reply:
        """What a browser gets that comes by itself."""
        there = urlencode({key: values[0] for key, values in asked.query.items()})
        back = urlencode(self.authorize(f"{self.url}/authorize?{there}"))
        location = f"{asked.query['redirect_uri'][0]}?{back}"
        return Reply(status=302, headers=((b"location", location.encode()),))

    def redeem(self, asked: Asked) -> Reply:
        secret = base64.b64encode(b"mezite:s3cret%26more")
        if asked.fields.get(b"authorization") != b"Basic " + secret:
            return Reply({"error": "invalid_client"}, status=401)
        login = self.codes.pop(asked.form.get("code", ""), None)
        verifier = asked.form.get("code_verifier", "")
        if login is None or b64(hashlib.sha256(verifier.encode()).digest()) != login["code_challenge"]:
            return Reply({"error": "invalid_grant", "error_description": "unknown code"}, status=400)
        assert asked.form["redirect_uri"] == login["redirect_uri"]
        answer = {"access_token": "at-1", "token_type": "Bearer", "id_token": self.id_token(login["nonce"])}
        return Reply(merged(answer, self.token))

    def id_token(self, nonce: str) -> str:
        now = self.now()
        claims = {
            "iss": self.url,
            "aud": CLIENT_ID,
            "nonce": nonce,
            "iat": now,
            "exp": now + 300,
            **self.person,
        }
        claims, header = merged(claims, self.claims), merged({"kid": self.key_id}, self.header)
        if self.forge is not None:
            return self.forge({"alg": self.algorithm, "typ": "JWT", **header}, claims)
        return jwt.encode(claims, self.key, algorithm=self.algorithm, headers=header)


@attrs.define(eq=False)
class FakeGithub(FakeProvider):
    """GitHub, with answers in the shapes of its API."""

    login: str = "OctoCat"
    number: int = 583231
    teams: list[tuple[str, str]] = attrs.field(factory=lambda: [("Acme", "platform")])
    orgs: list[str] = attrs.field(factory=lambda: ["Acme"])

    def document(self, **spec: object) -> dict:
        return {
            "kind": "github",
            "version": "v1",
            "metadata": {"name": "github"},
            "spec": {
                "url": self.url,
                "api_url": f"{self.url}/api/v3",
                "client_id": CLIENT_ID,
                "client_secret": CLIENT_SECRET,
                "teams_to_roles": [
                    {"org": "acme", "team": "platform", "roles": ["access"]},
                    {"org": "acme", "roles": ["auditor"]},
                ],
                "claims_to_traits": [{"claim": "login", "trait": "logins"}],
                "allow_private_network": True,
                **spec,
            },
        }

    def authorize(self, url: str) -> list[tuple[str, str]]:
        parts = urlsplit(url)
        asked = {key: values[0] for key, values in parse_qs(parts.query).items()}
        assert (parts.path, asked["client_id"]) == ("/login/oauth/authorize", CLIENT_ID)
        assert asked["scope"] == "read:org"
        return [("code", "gh-code"), ("state", asked["state"])]

    def honest(self, asked: Asked) -> Reply:
        if asked.path == "/login/oauth/access_token":
            return self.redeem(asked)
        if asked.fields.get(b"authorization") != b"Bearer gho_abc":
            return Reply({"message": "Bad credentials"}, status=401)
        if asked.path == "/api/v3/user":
            user = {"login": self.login, "id": self.number, "node_id": "MDQ6", "type": "User"}
            return Reply({**user, "name": "Mona", "email": None, "site_admin": False})
        if asked.path == "/api/v3/user/teams":
            return self.page(
                asked,
                [
                    {
                        "id": number,
                        "name": slug.title(),
                        "slug": slug,
                        "organization": {"login": org, "id": 1},
                    }
                    for number, (org, slug) in enumerate(self.teams)
                ],
            )
        if asked.path == "/api/v3/user/orgs":
            return self.page(asked, [{"login": org, "id": number} for number, org in enumerate(self.orgs)])
        return Reply({"message": "Not Found"}, status=404)

    def redeem(self, asked: Asked) -> Reply:
        assert asked.fields[b"accept"] == b"application/json"
        if (asked.form["client_id"], asked.form["client_secret"]) != (CLIENT_ID, CLIENT_SECRET):
            return Reply({"error": "incorrect_client_credentials"})
        if asked.form["code"] != "gh-code":
            # GitHub refuses with status 200.
            described = {"error": "bad_verification_code", "error_description": "incorrect or expired"}
            return Reply({**described, "error_uri": "https://docs.github.com"})
        return Reply({"access_token": "gho_abc", "scope": "read:org", "token_type": "bearer"})

    def page(self, asked: Asked, rows: list[dict]) -> Reply:
        size, number = int(asked.query["per_page"][0]), int(asked.query["page"][0])
        has_next = len(rows) > size * number
        link = f'<{self.url}{asked.path}?page={number + 1}>; rel="next"'.encode()
        return Reply(
            rows[size * (number - 1) : size * number], headers=((b"link", link),) if has_next else ()
        )


@asynccontextmanager
async def serving(kind: type[FakeProvider], now: Callable[[], int]) -> AsyncIterator[FakeProvider]:
    """A provider on a free port of loopback."""
    provider: FakeProvider | None = None

    async def serve(stream: trio.SocketStream) -> None:
        assert provider is not None
        await serve_http1(stream, provider, scheme="http", client="127.0.0.1:1", server=address)

    async with listening(serve) as address:
        provider = kind(f"http://{address}", now)
        yield provider


def connector_of(provider: FakeProvider, **spec: object):
    return parse_connector(provider.document(**spec))
