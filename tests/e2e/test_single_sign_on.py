# SPDX-License-Identifier: Apache-2.0
"""Signing in through a real OpenID provider: npm's oidc-provider, and a browser that follows redirects."""

from __future__ import annotations

import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import HubInThread, hub_in_thread
from tests.cli.msh import sso_browser
from tests.cli.msh.sso_browser import Browser
from tests.cli.msh.test_sso import started
from tests.e2e.openid_provider import OpenIdProvider, run_provider

pytestmark = pytest.mark.e2e

PEOPLE = {
    "u-1": {
        "preferred_username": "alice",
        "email": "alice@example.com",
        "email_verified": True,
        "groups": ["platform"],
    },
    "u-2": {"preferred_username": "bob", "email": "bob@example.com", "email_verified": False, "groups": []},
}
CLIENTS = {
    # Connector, algorithm of its tokens, how it shows its secret.
    "rs256": ("RS256", "client_secret_basic"),
    "ps256": ("PS256", "client_secret_post"),
    "es256": ("ES256", "client_secret_basic"),
    "eddsa": ("EdDSA", "none"),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubInThread]:
    with hub_in_thread(tmp_path_factory.mktemp("sso-hub")) as running:
        yield running


def client(hub: HubInThread, name: str, algorithm: str, method: str) -> dict[str, object]:
    secret = {} if method == "none" else {"client_secret": f"{name}-secret:&%+"}
    return {
        "client_id": name,
        **secret,
        "redirect_uris": [f"https://{hub.hub.address('web')}/v1/webapi/oidc/callback"],
        "token_endpoint_auth_method": method,
        "id_token_signed_response_alg": algorithm,
    }


def connector(issuer: str, client: dict[str, object], **spec: object) -> dict[str, object]:
    return {
        "kind": "oidc",
        "version": "v1",
        "metadata": {"name": client["client_id"]},
        "spec": {
            "issuer": issuer,
            "client_id": client["client_id"],
            "client_secret": client.get("client_secret", ""),
            "scopes": ["openid", "profile", "email", "groups"],
            "username_claim": "preferred_username",
            "claims_to_roles": [{"claim": "groups", "value": "platform", "roles": ["access"]}],
            "claims_to_traits": [{"claim": "preferred_username", "trait": "logins"}],
            "allow_private_network": True,
            **spec,
        },
    }


@pytest.fixture(scope="module")
def provider(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenIdProvider]:
    """The provider, and a connector for each of its clients."""
    clients = [client(hub, name, *how) for name, how in CLIENTS.items()]
    config = {"clients": clients, "people": PEOPLE, "person": "u-1", "claims_at_userinfo": True}
    with run_provider(config) as provider:
        file = tmp_path_factory.mktemp("connectors") / "connector.yaml"
        for each in clients:
            file.write_text(json.dumps(connector(provider.issuer, each)), encoding="utf-8")
            created = hub.mezctl("connectors", "create", f"--from-file={file}")
            assert created.code == 0, created.err
        yield provider


def start_url(hub: HubInThread, name: str) -> str:
    return f"https://{hub.hub.address('web')}/v1/webapi/sso/{name}/start?return_to=/nodes"


def is_person(provider: OpenIdProvider, subject: str) -> None:
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(
        f"{provider.issuer}/test/person/{subject}"
    ) as answer:
        assert answer.read() == b"ok"


@pytest.mark.parametrize("name", CLIENTS)
def test_a_browser_signs_in(hub: HubInThread, provider: OpenIdProvider, name: str) -> None:
    browser = Browser()
    page = browser.open(start_url(hub, name))
    assert "You are alice." in page
    assert 'content="0;url=/nodes"' in page
    # The provider remembers its user now, and asks nothing.
    assert "You are alice." in browser.open(start_url(hub, name))


def test_one_person_is_one_user_whatever_the_connector(hub: HubInThread, provider: OpenIdProvider) -> None:
    for name in CLIENTS:
        Browser().open(start_url(hub, name))
    (user,) = [row for row in hub.mezctl("users", "ls", "--format=json").json if row["name"] == "alice"]
    assert (user["roles"], user["connector"], user["has_password"]) == (["access"], "eddsa", False)


def test_a_callback_is_good_once(hub: HubInThread, provider: OpenIdProvider) -> None:
    browser = Browser()
    browser.open(start_url(hub, "es256"))
    assert "/v1/webapi/oidc/callback?" in browser.url
    assert "has been used already" in browser.open(browser.url, refused=True)
    assert "was not begun in this browser" in Browser().open(browser.url, refused=True)


def test_somebody_who_may_not_in(hub: HubInThread, provider: OpenIdProvider) -> None:
    is_person(provider, "u-2")
    try:
        said = Browser().open(start_url(hub, "rs256"), refused=True)
        assert "no rule of connector rs256 gives bob a role" in said
        is_person(provider, "")
        said = Browser().open(start_url(hub, "rs256"), refused=True)
        assert "the provider refuses: &#x27;access_denied&#x27;" in said
    finally:
        is_person(provider, "u-1")


def test_trying_the_connectors(hub: HubInThread, provider: OpenIdProvider) -> None:
    for name in CLIENTS:
        tried = hub.mezctl("connectors", "test", name)
        assert tried.code == 0, tried.out
        assert f"ok: discovery: issuer {provider.issuer}," in tried.out
        assert "ok: keys: 3 usable, for ES256, EdDSA, PS256, RS256" in tried.out


def test_a_wrong_secret(hub: HubInThread, provider: OpenIdProvider, tmp_path: Path) -> None:
    wrong = {**client(hub, "rs256", *CLIENTS["rs256"]), "client_secret": "wrong"}
    document = connector(provider.issuer, wrong)
    document["metadata"] = {"name": "wrong"}
    file = tmp_path / "connector.yaml"
    file.write_text(json.dumps(document))
    assert hub.mezctl("connectors", "create", f"--from-file={file}").code == 0
    assert "&#x27;invalid_client&#x27;" in Browser().open(start_url(hub, "wrong"), refused=True)


def test_msh(hub: HubInThread, provider: OpenIdProvider, tmp_path: Path) -> None:
    browser = f"{sys.executable} {sso_browser.__file__} %s"
    with started(hub, tmp_path, connector="eddsa", BROWSER=browser) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "logged in to test as alice" in said
    assert "  logins  alice" in said
    assert hub.msh(tmp_path, "ls").code == 0


def test_a_provider_that_says_all_in_the_token(hub: HubInThread, tmp_path: Path) -> None:
    it = client(hub, "in-token", "ES256", "client_secret_basic")
    config = {"clients": [it], "people": PEOPLE, "person": "u-1", "claims_at_userinfo": False}
    # Another provider, another issuer: its alice is somebody else, and has to be called otherwise.
    by_address = {"username_claim": "email"}
    with run_provider(config) as other:
        file = tmp_path / "connector.yaml"
        file.write_text(json.dumps(connector(other.issuer, it)), encoding="utf-8")
        assert hub.mezctl("connectors", "create", f"--from-file={file}").code == 0
        said = Browser().open(start_url(hub, "in-token"), refused=True)
        assert "the name alice belongs to another user here" in said
        file.write_text(json.dumps(connector(other.issuer, it, **by_address)), encoding="utf-8")
        assert hub.mezctl("connectors", "create", f"--from-file={file}").code == 0
        assert "You are alice@example.com." in Browser().open(start_url(hub, "in-token"))
