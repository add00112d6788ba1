# SPDX-License-Identifier: Apache-2.0
"""The pages of the web app in a real browser, against a real hub: whoever can read them can get in, and nobody else."""

import base64
import os
import pty
import re
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from sqlalchemy import update

from mezite.core.totp import STEP_SECONDS, totp_code
from mezite.storage.schema import web_sessions
from tests.chromium import chromium, open_tab
from tests.hub.live_hub import PASSWORD, live_hub

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    subprocess.run([sys.executable, str(ROOT / "web" / "build.py")], check=True)
    with chromium(tmp_path_factory.mktemp("browser")) as address:
        yield address


@asynccontextmanager
async def at_hub(browser, folder):
    """A hub and a tab, and at the end no complaint of the browser."""
    async with live_hub(folder) as hub, open_tab(browser) as tab:
        yield hub, tab
        assert await tab.complaints() == []


def url(hub, path="/"):
    return f"https://localhost:{hub.address('web').rpartition(':')[2]}{path}"


async def user(hub, name="alice", password=PASSWORD):
    accounts = hub.hub.ground.accounts
    return await accounts.create(name, roles=("access",), traits={}, password=password, by="test")


async def log_in(tab, hub, name="alice", path="/"):
    await tab.open(url(hub, path))
    await tab.fill("User name", name)
    await tab.fill("Password", PASSWORD)
    await tab.press("Enter")


async def begin_app(tab):
    """Up to the QR code; the secret in it."""
    await tab.click("Second factors")
    await tab.click("Authenticator app")
    await prove(tab)
    await tab.shows("Scan this code")
    assert await tab.run("document.querySelectorAll('svg.qr path').length") == 1
    return base64.b32decode(await tab.run("document.querySelector('.copyable code').textContent"))


async def prove(tab):
    await tab.shows("Confirm that it is you")
    await tab.fill("Your password", PASSWORD)
    await tab.press("Enter")


async def enter_code(tab, hub, secret, steps=0):
    step = hub.sources.now() // (1000 * STEP_SECONDS) + steps
    await tab.fill("Code from your authenticator app", totp_code(secret, step))


async def test_from_an_invite_to_a_second_factor_and_back_in(browser, tmp_path):
    """Threats D19, D21, E7: enrol, log out, log in with the code, and with a recovery code."""
    async with at_hub(browser, tmp_path) as (hub, tab):
        invite = (await user(hub, password="")).invite_token.reveal()
        await tab.open(url(hub, f"/invite#{invite}"))
        await tab.shows("Choose a password")
        assert await tab.run("location.hash + history.length") in ("1", "2")
        await tab.fill("New password", PASSWORD)
        await tab.fill("The same again", PASSWORD + "?")
        await tab.press("Enter")
        await tab.shows("The two passwords differ")
        await tab.fill("The same again", PASSWORD)
        await tab.press("Enter")
        await tab.shows("Only a password protects your account")

        kept = await tab.cookies()
        assert {cookie["name"] for cookie in kept} == {"mezite_session", "__Host-mezite_seal"}
        for cookie in kept:
            shown = {key: cookie[key] for key in ("path", "httpOnly", "secure", "sameSite")}
            assert shown == {"path": "/", "httpOnly": True, "secure": True, "sameSite": "Strict"}
        assert await tab.run("document.cookie") == ""

        secret = await begin_app(tab)
        await enter_code(tab, hub, secret)
        await tab.click("Enrol")
        await tab.shows("Your recovery codes")
        codes = re.findall(r"[a-z2-7]{4}(?:-[a-z2-7]{4}){3}", await tab.text())
        assert len(codes) == 10
        await tab.click("I have kept them")
        await tab.click("Log out")
        await tab.shows("You are logged out")

        await log_in(tab, hub)
        await tab.shows("Second factor")
        await tab.fill("Code from your authenticator app", "000000")
        await tab.press("Enter")
        await tab.shows("That code is not right")
        await tab.click("Use a recovery code instead")
        await tab.fill("Recovery code", codes[0])
        await tab.press("Enter")
        await tab.shows("This session ends")
        await tab.click("Log out")
        await tab.shows("You are logged out")

        await log_in(tab, hub)
        # The code of this step was used to enrol; the next one is good already, for telephones whose clock is ahead.
        await enter_code(tab, hub, secret, steps=1)
        await tab.press("Enter")
        await tab.shows("This session ends")


async def test_a_security_key(browser, tmp_path):
    """Threat E7: enrol one, log in with it at the address that one wanted, prove with it, remove it."""
    async with at_hub(browser, tmp_path) as (hub, tab):
        await tab.add_authenticator()
        await user(hub)
        await log_in(tab, hub, path="/account/factors")
        await tab.click("Security key or passkey")
        await prove(tab)
        await tab.shows("Your recovery codes")
        await tab.click("Log out")
        await tab.shows("You are logged out")
        await log_in(tab, hub, path="/account/sessions")
        await tab.click("Use the security key")
        await tab.shows("this one")
        await tab.click("Second factors")
        await tab.shows("Remove")
        await tab.run("document.querySelector('ul.list .danger').click()")
        await tab.shows("is removed.")
        await tab.shows("Add your first factor")


async def test_a_new_password(browser, tmp_path):
    """Threats E8, E14: with the old one and the factor; whoever else was logged in is out."""
    async with at_hub(browser, tmp_path) as (hub, tab), open_tab(browser) as other:
        await tab.add_authenticator()
        await user(hub)
        await log_in(other, hub)
        await other.shows("Only a password protects your account")
        await log_in(tab, hub, path="/account/factors")
        await tab.click("Security key or passkey")
        await prove(tab)
        await tab.shows("Your other sessions have ended")
        await other.click("Sessions")
        await other.shows("Your session has ended")
        # Five minutes later.
        await hub.hub.ground.database.write(
            lambda conn: conn.execute(update(web_sessions).values(factor_at=1))
        )
        await tab.click("Password")
        await tab.fill("Old password", PASSWORD)
        await tab.fill("New password", "another horse battery")
        await tab.fill("The same again", "another horse battery")
        await tab.press("Enter")
        await tab.shows("Confirm that it is you")
        await tab.click("Use the security key")
        await tab.shows("Your password is changed")


@asynccontextmanager
async def msh_login(hub, home, *options):
    """`msh login` of alice in a terminal of its own; yields what waits for a pattern in what it says."""
    leader, follower = pty.openpty()
    where = [f"--proxy=localhost:{url(hub).rpartition(':')[2].rstrip('/')}", f"--ca-pin={hub.pin}"]
    environ = {key: value for key, value in os.environ.items() if key not in ("BROWSER", "DISPLAY")}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "mezite.cli.msh", "login", *where, "--user=alice", *options],
        cwd=ROOT,
        env={**environ, "MSH_HOME": str(home), "MEZITE_PASSWORD": PASSWORD, "TERM": "dumb"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
    )
    os.close(follower)
    terminal, seen = trio.lowlevel.FdStream(leader), bytearray()

    async def says(pattern):
        with trio.move_on_after(30):
            while not (found := re.search(pattern, seen.decode())):
                seen.extend(await terminal.receive_some(4096))
            return found[0]
        raise AssertionError(seen.decode())

    try:
        yield says
        assert await process.wait() == 0, seen.decode()
    finally:
        process.kill()
        await terminal.aclose()


async def test_msh_of_who_has_a_security_key_only(browser, tmp_path):
    """Threats D20, D23, E7: the browser asks the key and brings the program its code, or lets it in from elsewhere."""
    async with at_hub(browser, tmp_path / "hub") as (hub, tab):
        await tab.add_authenticator()
        await user(hub)
        await log_in(tab, hub, path="/account/factors")
        await tab.click("Security key or passkey")
        await prove(tab)
        await tab.shows("Your recovery codes")
        async with msh_login(hub, tmp_path / "here") as says:
            await tab.open(url(hub, await says(r"/program#[0-9a-f]{64}(?=\s)")))
            await tab.shows("It will act as alice")
            assert await tab.run("location.hash") == ""
            await tab.click("Let it in")
            await says("logged in to test as alice")
        await tab.shows("Signed in")
        await hub.hub.ground.database.write(
            lambda conn: conn.execute(update(web_sessions).values(factor_at=1))
        )
        async with msh_login(hub, tmp_path / "elsewhere", "--no-browser") as says:
            code = (await says(r"enter the code\s+[A-Z]{4}-[A-Z]{4}(?=\s)"))[-9:]
            await tab.open(url(hub, "/program"))
            await tab.fill("Code", code)
            await tab.press("Enter")
            await tab.shows(f"that shows the code {code}")
            await tab.click("Let it in")
            await tab.shows("Confirm that it is you")
            await tab.click("Use the security key")
            await tab.shows("The program goes on by itself")
            await says("logged in to test as alice")


async def test_sessions_end_where_they_are_listed(browser, tmp_path):
    """Threats D21, E14: what is ended in one tab is over in the other, and no other page can end anything."""
    async with at_hub(browser, tmp_path) as (hub, tab), open_tab(browser) as other:
        await user(hub)
        await log_in(tab, hub)
        await log_in(other, hub, path="/account/sessions")
        await other.shows("this one")
        csrf = """fetch("/v1/webapi/logout", {method: "POST"}).then((answer) => answer.status)"""
        assert await other.run(csrf) == 403
        await other.click("End the session from 127.0.0.1")
        await other.wait_until("document.querySelectorAll('ul.list li').length === 1")
        await tab.click("Second factors")
        await tab.shows("Your session has ended")
        await other.click("Log out")
        await other.shows("You are logged out")
        assert await other.cookies() == []
