# SPDX-License-Identifier: Apache-2.0
"""The hub's part of a browser's way to an application: who is it, may they, and back with a code."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

import attrs
import quart

from mezite.services.apps.logins import ENTER_PATH, AppLogins
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.errors import UnauthenticatedError
from mezite.services.identity.identities import UserIdentity
from mezite.storage.web_sessions import WebSessionKind
from mezite.web import app_entry_pages, browser_session
from mezite.web.route_table import RouteTable, client_address
from mezite.web.sso_pages import as_page

__all__ = ["AppEntryRoutes"]

AGAIN = "again"
"""In the address of the second try, which a page of our own has made."""


@attrs.frozen(kw_only=True)
class AppEntryRoutes:
    """`/apps/enter/KEY`, and what the page of the web app at `/apps/enter` asks."""

    logins: AppLogins
    authenticator: Authenticator
    connector: str | None
    """Where browsers without a session are sent; None: to the login page."""

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        entry = "/v1/webapi/apps/entries/<key>"
        table.answering("GET", f"{ENTER_PATH}/<key>", partial(as_page, self._enter), "self.apps.enter", "app")
        table.private("POST", entry, self._wanted, "self.apps.enter", "app")

    async def _enter(self) -> quart.Response:
        """Lead a browser on: to the login, or back to the application."""
        key = _key()
        identity = await self._identity()
        if identity is None:
            if AGAIN not in quart.request.args:
                return app_entry_pages.ask_again(f"{ENTER_PATH}/{key}?{AGAIN}=1")
            await self.logins.wanted(key)
            return _redirect(self._login_url(key))
        way_back = await self.logins.enter(identity, key, client_address=client_address())
        if way_back is None:
            return _redirect(f"{ENTER_PATH}#{key}")
        return app_entry_pages.hand_over(way_back)

    async def _identity(self) -> UserIdentity | None:
        """Who has a session in this browser; None for nobody. :raises LockedError: somebody with a lock."""
        secret = browser_session.cookie_secret()
        if secret is None:
            return None
        try:
            return await self.authenticator.by_session(secret, WebSessionKind.WEB)
        except UnauthenticatedError:
            return None

    def _login_url(self, key: str) -> str:
        if self.connector is None:
            # The key stands in the fragment: the page of the web app takes it from there.
            return f"{ENTER_PATH}#{key}"
        back = quote(f"{ENTER_PATH}/{key}?{AGAIN}=1", safe="")
        return f"/v1/webapi/sso/{quote(self.connector, safe='')}/start?return_to={back}"

    async def _wanted(self, identity: UserIdentity) -> dict[str, Any]:
        """Say which application the key leads to, and what has to be shown before."""
        app, pending = await self.logins.ask_proof(identity, _key(), client_address=client_address())
        if pending is None:
            return {"app": app.name}
        return {"app": app.name, "proof": {"id": pending.id.reveal(), "factors": list(pending.factors)}}


def _key() -> str:
    return quote((quart.request.view_args or {})["key"][:128], safe="")


def _redirect(url: str) -> quart.Response:
    return quart.Response("", status=303, headers={"location": url})
