# SPDX-License-Identifier: Apache-2.0
"""`msh login --auth`: somebody signs in through a connector, in a browser here or anywhere."""

from __future__ import annotations

import difflib
import hashlib
import os
import secrets
import sys
import webbrowser
from collections.abc import Mapping
from typing import Any

import attrs
import click
import trio

from mezite.cli.hub_client.loopback_callback import open_loopback_callback
from mezite.cli.hub_client.web_client import WebClient
from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.core.secret import Secret

__all__ = ["KeysToCertify", "SsoSignIn", "check_connector", "has_browser"]

SIGN_IN_SECONDS = 600
"""What the hub gives as well: to find one's password and second factor at the provider."""

_TOO_SLOW = CliError("cannot log in", "nobody has signed in within 10 minutes", "run msh login again")


@attrs.frozen(kw_only=True)
class KeysToCertify:
    """What a hub needs to issue certificates."""

    ssh_public_key: str
    tls_public_key_pem: str
    ttl_seconds: int


@attrs.frozen(kw_only=True)
class SsoSignIn:
    """One login."""

    web: WebClient
    connector: str
    with_browser: bool
    """A browser on this machine brings the code; else a person enters one somewhere."""
    verifier: Secret = attrs.field(factory=lambda: Secret(secrets.token_urlsafe(32)))

    async def run(self, keys: KeysToCertify) -> dict[str, Any]:
        """Have somebody sign in, and return the certificates as the hub answers them.

        :raises CliError: nobody has signed in in time, or the hub refuses.
        """
        with trio.move_on_after(SIGN_IN_SECONDS):
            return await (self._with_browser(keys) if self.with_browser else self._with_code(keys))
        raise _TOO_SLOW

    async def _with_browser(self, keys: KeysToCertify) -> dict[str, Any]:
        async with open_loopback_callback() as callback:
            begun = await self._begin(keys, callback_url=callback.url)
            click.echo(f"If no browser opens, open this in one on this machine:\n  {begun['url']}", err=True)
            await _open_browser(str(begun["url"]))
            return await self._finish(begun, await callback.wait())

    async def _with_code(self, keys: KeysToCertify) -> dict[str, Any]:
        begun = await self._begin(keys)
        click.echo(
            f"Open this on any machine:\n  {begun['url']}\nand enter the code\n  {begun['user_code']}",
            err=True,
        )
        while True:
            answer = await self._finish(begun, "")
            if answer.get("status") == "done":
                return answer
            await trio.sleep(min(max(int(begun["interval_seconds"]), 1), 30))

    async def _begin(self, keys: KeysToCertify, **more: str) -> dict[str, Any]:
        challenge = hashlib.sha256(self.verifier.reveal().encode()).hexdigest()
        fields = {"connector": self.connector, "challenge": challenge, **attrs.asdict(keys), **more}
        return await self.web.post("/v1/webapi/sso/client/begin", fields)

    async def _finish(self, begun: Mapping[str, Any], code: str) -> dict[str, Any]:
        fields = {"login": begun["login"], "verifier": self.verifier.reveal(), "code": code}
        return await self.web.post("/v1/webapi/sso/client/finish", fields)


def check_connector(hub: Mapping[str, Any], name: str) -> None:
    """:raises CliError: the hub with that answer to `ping` has no such connector; says which there are."""
    known = [str(each.get("name")) for each in hub.get("connectors", ()) if isinstance(each, dict)]
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    if not known:
        hint = "there is none: leave --auth away to log in with a password"
    raise CliError(f"no connector {name!r} at this hub", "", hint, exit_code=EXIT_USAGE)


def has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a browser can be opened that shows a window: not one that takes over the terminal."""
    return sys.platform == "darwin" or any(
        environ.get(name) for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    )


async def _open_browser(url: str) -> None:
    if has_browser(os.environ):
        # Starting one may take seconds; the URL has been shown, so nobody waits for it.
        await trio.to_thread.run_sync(
            webbrowser.open, url, abandon_on_cancel=True, limiter=trio.CapacityLimiter(1)
        )
