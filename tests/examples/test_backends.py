# SPDX-License-Identifier: Apache-2.0
"""The examples for backends, in real Flask and FastAPI, against whatever comes from inside the network (E1, E2)."""

import asyncio
import hashlib
import hmac
import http.server
import importlib.util
import json
import re
import threading
import time
from pathlib import Path

import attrs
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.assertion.signer import AssertionSigner
from mezite.core.certificates.jwk import public_jwk
from mezite.core.certificates.keys import public_key_pem
from tests.core.assertion.forging import AUDIENCE, BODY, CLAIMS, HEADER, JWK, KEY, b64, forged

BACKENDS = Path(__file__).parent.parent.parent / "examples" / "backends"
STRANGER = ec.derive_private_key(666, ec.SECP256R1())


class KeySetServer(http.server.BaseHTTPRequestHandler):
    """The hub, as far as backends ask it."""

    def do_GET(self):
        self.server.fetched += 1
        body = json.dumps({"keys": self.server.keys}).encode()
        self.send_response(self.server.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments):
        pass


@pytest.fixture
def hub():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), KeySetServer) as server:
        server.keys, server.status, server.fetched = [JWK], 200, 0
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def imported(name):
    spec = importlib.util.spec_from_file_location(name, BACKENDS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_flask(requests):
    client = imported("flask_app").create_app().test_client()
    answers = [client.get(path, headers=headers) for path, headers in requests]
    return [(answer.status_code, answer.text) for answer in answers]


def in_fastapi(requests):
    async def ask():
        transport = httpx.ASGITransport(imported("fastapi_app").create_app())
        async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
            return [await client.get(path, headers=headers) for path, headers in requests]

    return [(answer.status_code, answer.text) for answer in asyncio.run(ask())]


@pytest.fixture(params=[in_flask, in_fastapi])
def answers(request, hub, monkeypatch):
    """What a fresh application answers to requests of (path, assertion)."""
    monkeypatch.setenv("MEZITE_APP_URI", AUDIENCE)
    monkeypatch.setenv("MEZITE_JWKS_URL", f"http://127.0.0.1:{hub.server_port}/")
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    def ask(*requests):
        named = {"X-Mezite-User": "admin", "X-Mezite-Roles": "admin"}
        return request.param(
            [
                (path, named if token is None else {**named, "Mezite-Jwt-Assertion": token})
                for path, token in requests
            ]
        )

    return ask


def good(key=KEY, **changes):
    claims = attrs.evolve(CLAIMS, issued_at=int(time.time()), **changes)
    return AssertionSigner(key).sign(claims).token


def timely(**changes):
    now = int(time.time())
    return {**BODY, "iat": now, "nbf": now, "exp": now + 60, **changes}


def shared_secret():
    signed = f"{b64(json.dumps({**HEADER, 'alg': 'HS256'}).encode())}.{b64(json.dumps(timely()).encode())}"
    digest = hmac.digest(public_key_pem(KEY.public_key()), signed.encode(), hashlib.sha256)
    return f"{signed}.{b64(digest)}"


def unsigned():
    return f"{b64(json.dumps({**HEADER, 'alg': 'none'}).encode())}.{b64(json.dumps(timely()).encode())}."


def test_who_asks_is_known(answers, hub):
    (status, text), *rest = answers(("/", good()), ("/admin", good()), ("/admin", good(roles=("admin",))))
    assert (status, json.loads(text)) == (200, {"user": "alice", "roles": ["access", "auditor"]})
    assert [status for status, _ in rest] == [403, 200]
    assert hub.fetched == 1


FORGERIES = {
    "none at all": (lambda: None, "has not come through a hub"),
    "another application": (lambda: good(audience="http://127.0.0.1:3001"), "is for"),
    "expired": (lambda: forged(timely(exp=int(time.time()) - 31)), "has expired"),
    "no algorithm": (unsigned, "damaged"),
    "the public key as a shared secret": (shared_secret, "damaged"),
    "an unknown key": (lambda: forged(timely(), {**HEADER, "kid": "mine"}), "not in the key set"),
    "another cluster": (lambda: good(key=STRANGER), "not in the key set"),
    "another key under a known name": (lambda: forged(timely(), key=STRANGER), "signature is wrong"),
    "no assertion": (lambda: "alice", "damaged"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_nobody_else_is_believed(answers, name):
    make, message = FORGERIES[name]
    for path in ("/", "/admin"):
        ((status, text),) = answers((path, make()))
        assert status == 401
        assert message in text


def test_a_key_set_that_cannot_be_fetched_lets_nobody_in(answers, hub):
    hub.status = 503
    ((status, text),) = answers(("/", good()))
    assert (status, "not in the key set" in text) == (401, True)


def test_strangers_cannot_make_it_fetch_over_and_over(answers, hub):
    hub.keys = [public_jwk(STRANGER.public_key()), JWK]
    tokens = [forged(timely(), {**HEADER, "kid": f"k{number}"}) for number in range(20)]
    found = answers(*(("/", token) for token in tokens), ("/", good()), ("/", good(key=STRANGER)))
    assert [status for status, _ in found] == [401] * 20 + [200, 200]
    assert hub.fetched == 1


def test_the_page_about_it_says_what_is_so():
    """The piece of Python in the documentation runs as it stands."""
    page = (BACKENDS.parent.parent / "docs" / "applications.md").read_text(encoding="utf-8")
    (block,) = (text for text in re.findall(r"```python\n(.*?)```", page, re.S) if "verify_assertion" in text)
    names = {"time": time, "key_set_json": json.dumps({"keys": [JWK]}), "token": good()}
    exec(compile(block, "applications.md", "exec"), names)
    assert (names["caller"].user, names["caller"].roles) == ("alice", ("access", "auditor"))
