# SPDX-License-Identifier: Apache-2.0
"""Signing in through a real provider in a real browser: the cookies, the way back, and the pages on it."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from mezite.services.sso.clients import ClientRequest
from tests.chromium import chromium, open_tab
from tests.e2e.openid_provider import run_provider
from tests.e2e.test_single_sign_on import PEOPLE, connector
from tests.hub.live_hub import live_hub
from tests.services.world import SSH_PUBLIC_LINE, TLS_PUBLIC_PEM

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    subprocess.run([sys.executable, str(ROOT / "web" / "build.py")], check=True)
    with chromium(tmp_path_factory.mktemp("browser")) as address:
        yield address


async def test_through_a_connector(browser, tmp_path):
    """Threats D19, E4: back to the page that one wanted, with a session that no other site can use."""
    with ExitStack() as stack:
        async with live_hub(tmp_path) as hub, open_tab(browser) as tab:
            origin = f"https://{hub.address('web')}"
            client = {
                "client_id": "mezite",
                "client_secret": "secret:&%+",
                "redirect_uris": [f"{origin}/v1/webapi/oidc/callback"],
                "token_endpoint_auth_method": "client_secret_basic",
                "id_token_signed_response_alg": "ES256",
            }
            config = {"clients": [client], "people": PEOPLE, "person": "u-1", "claims_at_userinfo": True}
            provider = await trio.to_thread.run_sync(stack.enter_context, run_provider(config))
            sso = hub.hub.services.sso
            document = connector(provider.issuer, client, display_name="Corporate login")
            await sso.catalog.put(json.dumps(document), by="test", client_address="127.0.0.1:1")

            await tab.open(f"{origin}/account/sessions")
            await tab.shows("Corporate login")
            await tab.click("Continue with Corporate login")
            await tab.shows("this one")
            assert await tab.run("location.pathname") == "/account/sessions"
            mine = [cookie for cookie in await tab.cookies() if cookie["name"] == "mezite_session"]
            assert [(cookie["sameSite"], cookie["httpOnly"]) for cookie in mine] == [("Strict", True)]
            await tab.click("Password")
            await tab.shows("Old password")

            begun = await sso.clients.begin(
                ClientRequest(
                    connector="mezite",
                    challenge="0" * 64,
                    ssh_public_key=SSH_PUBLIC_LINE,
                    tls_public_key_pem=TLS_PUBLIC_PEM.decode(),
                ),
                client_address="192.0.2.9:1",
            )
            await tab.open(f"{origin}/sso/device")
            await tab.fill("Code", begun.user_code)
            await tab.click("Continue")
            await tab.shows("192.0.2.9")
            await tab.click("Sign in with mezite")
            await tab.shows("It will act as alice")
            await tab.click("Let it in")
            await tab.shows("The program goes on by itself")
            await tab.open(f"{origin}/v1/webapi/sso/nowhere/start")
            await tab.shows("That did not work")
            assert await tab.complaints() == []
