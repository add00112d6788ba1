# SPDX-License-Identifier: Apache-2.0
"""Applications in a real browser, through a real hub and agent (threats D11, D16, D17, D18, D19, D21, E8, E14)."""

import base64
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mezite.core.totp import STEP_SECONDS, totp_code
from mezite.services.factors.fresh_proof import Proof
from mezite.services.login.codes import FactorShown
from tests.chromium import chromium, open_tab
from tests.e2e.app_site import DOMAIN, NOBODY, app_site
from tests.e2e.openid_provider import run_provider
from tests.e2e.test_single_sign_on import PEOPLE, connector
from tests.hub.live_hub import PASSWORD

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    subprocess.run([sys.executable, str(ROOT / "web" / "build.py")], check=True)
    with chromium(tmp_path_factory.mktemp("browser")) as address:
        yield address


async def cookies_of(tab, host):
    return {cookie["name"]: cookie for cookie in await tab.cookies() if cookie["domain"].endswith(host)}


async def test_through_the_connector_and_back_to_the_link(browser, tmp_path):
    """npm's oidc-provider: nobody types an address twice, and the second application asks for nothing."""
    async with app_site(tmp_path, apps_oidc_connector="corp") as site, open_tab(browser) as tab:
        client = {
            "client_id": "corp",
            "client_secret": "corp-secret",
            "redirect_uris": [site.hub_url("/v1/webapi/oidc/callback")],
            "token_endpoint_auth_method": "client_secret_basic",
            "id_token_signed_response_alg": "RS256",
        }
        config = {"clients": [client], "people": PEOPLE, "person": "u-1", "claims_at_userinfo": True}
        with run_provider(config) as provider:
            document = json.dumps(connector(provider.issuer, client))
            catalog = site.hub.hub.services.sso.catalog
            await catalog.put(document, by="test", client_address=NOBODY)
            link = site.url("grafana", "/d/a%2Fb?x=1&y=%20z#panel=2")
            await tab.open(link)
            await tab.shows("grafana knows alice at /d/a%2Fb?x=1&y=%20z")
        assert await tab.run("location.href") == link
        kept = await cookies_of(tab, f"grafana.{DOMAIN}")
        shown = {key: kept["__Host-mezite_app"][key] for key in ("path", "httpOnly", "secure", "sameSite")}
        assert shown == {"path": "/", "httpOnly": True, "secure": True, "sameSite": "Lax"}
        assert kept["__Host-mezite_app"]["domain"] == f"grafana.{DOMAIN}"
        # Threat D16: the application's own cookie arrives, and nothing for its siblings or in our name.
        assert kept["__Host-mezite_app"]["value"] != "mine"
        assert "own" in kept
        assert "tossed" not in kept
        assert await tab.run("document.cookie") == "own=1"
        # The provider is gone by now: the hub's session is enough, and what stands behind # stays.
        await tab.open(site.url("wiki", "/page#part"))
        await tab.shows("wiki knows alice at /page")
        assert await tab.run("location.hash") == "#part"
        assert await tab.complaints() == []
        assert all("mezite" not in seen.cookie for seen in site.seen)


async def test_the_login_page_the_launcher_and_every_way_out(browser, tmp_path):
    async with app_site(tmp_path) as site, open_tab(browser) as tab:
        await site.user()
        await tab.open(site.url("grafana", "/first#part"))
        await tab.fill("User name", "alice")
        await tab.fill("Password", PASSWORD)
        await tab.press("Enter")
        await tab.shows("grafana knows alice at /first")
        assert await tab.run("location.hash") == "#part"
        await tab.open(site.hub_url("/apps"))
        await tab.shows("Applications")
        await tab.fill("Search", "env=prod wik")
        await tab.wait_until("document.querySelectorAll('ul.list li').length === 1")
        link = "document.querySelector('ul.list a').href"
        assert await tab.run(link) == site.url("wiki")
        await tab.open(await tab.run(link))
        await tab.shows("wiki knows alice at /")
        # Threat E14: leaving the hub leaves them all.
        await tab.open(site.hub_url("/"))
        await tab.click("Log out")
        await tab.shows("You are logged out")
        for app in ("grafana", "wiki"):
            await tab.open(site.url(app))
            await tab.shows("Log in")
        assert await tab.complaints() == []
        await revoke_while_a_websocket_is_open(site, tab)


async def revoke_while_a_websocket_is_open(site, tab):
    """Threat E14: within a second; how long it took is printed."""
    alice = await site.log_in(tab, "alice")
    await tab.open(site.url("grafana"))
    await tab.shows("grafana knows alice")
    await tab.run("""new Promise((resolve) => {
      window.socket = new WebSocket("/ws");
      window.socket.onclose = () => { window.over = true; };
      window.socket.onmessage = (message) => resolve(message.data);
    })""")
    await site.sockets.wait()
    sessions = site.hub.hub.services.app_entry.sessions
    (row,) = await sessions.listed("alice")
    began = time.perf_counter()
    await sessions.end(row.id, by=alice, client_address=NOBODY)
    await tab.wait_until("window.over === true")
    print(f"cut after {time.perf_counter() - began:.3f} s")
    answer = await tab.run("fetch('/api').then(async (answer) => [answer.status, await answer.json()])")
    assert answer[0] == 401
    assert answer[1]["error"]["login_url"] == site.url("grafana", "/.mezite/login")


async def test_a_second_factor_first(browser, tmp_path):
    """Threat E8: roles ask for it, so it is asked for before each application."""
    async with app_site(tmp_path) as site:
        async with open_tab(browser) as tab:
            await a_code_first(site, tab)
        async with open_tab(browser) as tab:
            await a_security_key_first(site, tab)


async def a_code_first(site, tab):
    await site.role("careful", require_session_mfa="totp")
    await site.user("carol", ("careful",))
    own = site.hub.hub.services.factors.own
    identity = await site.log_in(tab, "carol")
    begun = await own.begin_totp(identity, Proof(password=PASSWORD), client_address=NOBODY)
    secret = base64.b32decode(begun.secret.reveal())
    step = site.hub.sources.now() // 1000 // STEP_SECONDS
    await own.finish_totp(
        identity,
        begun.challenge_id.reveal(),
        totp_code(secret, step),
        "",
        client_address=NOBODY,
    )
    await site.log_in(tab, "carol", FactorShown.TOTP)
    await tab.open(site.url("grafana", "/deep"))
    await tab.shows("A second factor, please")
    assert site.seen == []
    await tab.fill("Code from your authenticator app", totp_code(secret, step + 1))
    await tab.press("Enter")
    await tab.shows("grafana knows carol at /deep")
    await tab.open(site.url("wiki"))
    await tab.shows("A second factor, please")
    assert await tab.complaints() == []


async def a_security_key_first(site, tab):
    """Threats E7, E8: a key is asked for by the hub's page alone, and no code does where roles want a key."""
    await site.role("touching", require_session_mfa="webauthn")
    await site.user("dora", ("touching",))
    key = await tab.add_authenticator()
    await tab.open(site.hub_url("/account/factors"))
    await tab.fill("User name", "dora")
    await tab.fill("Password", PASSWORD)
    await tab.press("Enter")
    await tab.click("Security key or passkey")
    await tab.shows("Confirm that it is you")
    await tab.fill("Your password", PASSWORD)
    await tab.press("Enter")
    await tab.shows("Your recovery codes")
    before = len(site.seen)
    for app, path in (("grafana", "/deep?x=1"), ("wiki", "/")):
        await tab.open(site.url(app, path))
        await tab.shows("A second factor, please")
        assert (await tab.run("location.origin")) == site.hub_url("").rstrip("/")
        assert "authenticator app" not in await tab.text()
        assert [seen.app for seen in site.seen[before:]].count(app) == 0
        await with_a_key_of_somebody_else(tab, key)
        await tab.click("Use the security key")
        await tab.shows(f"{app} knows dora at {path}")
    # The session goes on without another touch.
    await tab.open(site.url("grafana", "/again"))
    await tab.shows("grafana knows dora at /again")
    assert await tab.complaints() == []


async def with_a_key_of_somebody_else(tab, key):
    """One that knows nothing of this hub, for a moment."""
    kept = (await tab.call("WebAuthn.getCredentials", authenticatorId=key))["credentials"]
    await tab.call("WebAuthn.clearCredentials", authenticatorId=key)
    await tab.click("Use the security key")
    await tab.shows("No security key has answered.")
    for credential in kept:
        await tab.call("WebAuthn.addCredential", authenticatorId=key, credential=credential)


ATTACK = """(async () => {{
  const said = [];
  for (const name of ["__Host-mezite_app", "__Host-mezite_app_state", "mezite_session"])
    document.cookie = `${{name}}=tossed; Domain={domain}; Path=/; Secure`;
  for (const mode of ["cors", "no-cors"])
    for (const method of ["GET", "POST"])
      try {{
        const answer = await fetch("{victim}/admin", {{ method, mode, credentials: "include" }});
        said.push(`${{mode}} ${{method}} ${{answer.type}}`);
      }} catch {{ said.push(`${{mode}} ${{method}} refused`); }}
  try {{
    await fetch("{victim}/admin", {{ method: "PUT", credentials: "include" }});
  }} catch {{ said.push("preflight refused"); }}
  await new Promise((resolve) => {{
    const socket = new WebSocket("{victim}/ws".replace("https", "wss"));
    socket.onopen = () => said.push("socket open");
    socket.onclose = resolve;
  }});
  return said;
}})()"""

POST_FORM = """(() => {{
  const form = document.createElement("form");
  form.method = "post";
  form.action = "{victim}/admin?by=form";
  document.body.append(form);
  form.submit();
}})()"""


async def test_a_hostile_sibling(browser, tmp_path):
    """Threats D11, D16, D17, D21: an application whose pages want what their visitors may at the next one."""
    async with app_site(tmp_path) as site, open_tab(browser) as tab:
        await site.user()
        await site.log_in(tab, "alice")
        for app in ("grafana", "wiki", "evil"):
            await tab.open(site.url(app, "/own"))
            await tab.shows(f"{app} knows alice at /own")
        victim = site.url("grafana").rstrip("/")
        said = await tab.run(ATTACK.format(domain=DOMAIN, victim=victim))
        assert said == [
            "cors GET refused",
            "cors POST refused",
            "no-cors GET opaque",
            "no-cors POST opaque",
            "preflight refused",
        ]
        await tab.run(POST_FORM.format(victim=victim))
        await tab.shows("Not allowed")
        assert [seen.target for seen in site.seen if seen.app == "grafana"] == ["/own"]
        # What was tossed is not taken for ours.
        await tab.open(site.url("grafana", "/after"))
        await tab.shows("grafana knows alice at /after")
        # grafana's pages may call wiki, preflight and all.
        call = f"""fetch("{site.url("wiki", "/api")}", {{method: "PUT", credentials: "include"}})
          .then((answer) => answer.text())"""
        assert "wiki knows alice at /api" in await tab.run(call)
