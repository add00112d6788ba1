# SPDX-License-Identifier: Apache-2.0
"""The few addresses of the hub's own at the host of an application: `/.mezite/enter`, `login` and `logout`."""

from __future__ import annotations

import html
import re
from contextlib import suppress
from urllib.parse import parse_qsl

import attrs
import trio

from mezite.core.cookies import write_cookie
from mezite.core.http1.browser_request import PageOrigin, who_asks
from mezite.handlers.app_visit import COOKIE, OWN_PATHS, STATE_COOKIE, Visit
from mezite.net.asgi_types import Receive
from mezite.services.apps.logins import LOGIN_MS, RETURN_PATH, AppLogins
from mezite.services.apps.sessions import AppSessions
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.errors import InvalidRequestError, NotFoundError, RefusedError, UnauthenticatedError

__all__ = ["AppOwnPages"]

LOGIN_PATH = f"{OWN_PATHS}login"
LOGOUT_PATH = f"{OWN_PATHS}logout"

MAX_FORM = 1024
"""Bytes; a code and its name are 69."""

FORM_SECONDS = 10
"""For a form of one packet."""

SECRET = re.compile(r"[0-9a-f]{64}", re.ASCII)

POLICY = b"default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

LEAVE_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Leave {app}</title></head>
<body><h1>Leave {app}?</h1><p>You are {user} here.</p>
<form method="post" action="/.mezite/logout"><button type="submit" autofocus>Leave</button></form></body></html>
"""


@attrs.frozen(kw_only=True)
class AppOwnPages:
    """Hands over, sends to the login, and ends the session."""

    logins: AppLogins
    sessions: AppSessions
    authenticator: Authenticator

    async def serve(self, visit: Visit, receive: Receive) -> None:
        """Answer one request. :raises RefusedError: as the services, for the gate to say."""
        path = visit.scope["path"]
        if visit.is_websocket:
            await visit.answer(404, "Not found", "there is no WebSocket at this path")
        elif path == RETURN_PATH:
            await self._enter(visit, receive)
        elif path == LOGIN_PATH:
            await self.send_to_login(visit, f"{visit.origin}/")
        elif path == LOGOUT_PATH:
            await self._leave(visit)
        else:
            await visit.answer(404, "Not found", f"nothing is served below {OWN_PATHS} at this path")

    async def send_to_login(self, visit: Visit, target: str) -> None:
        """Send a browser to the hub, to come back to `target`."""
        begun = await self.logins.begin(
            visit.app.public_addr,
            target,
            browser_secret=_browser_secret(visit),
            client_address=visit.client_address,
        )
        # It comes along with the hub's form, which is another site's to the browser when the domains differ. Alone it
        # opens nothing.
        kept = write_cookie(
            STATE_COOKIE, begun.browser_secret.reveal(), max_age=LOGIN_MS // 1000, same_site="None"
        )
        await visit.redirect(begun.url, kept)

    async def _enter(self, visit: Visit, receive: Receive) -> None:
        """Take the hub's form. The origin of its page is not asked: the code itself says who may send it."""
        if visit.method != b"POST":
            await visit.redirect(f"{visit.origin}/")
            return
        started, target = await self.logins.redeem(
            await _code(receive),
            visit.app.public_addr,
            browser_secret=_browser_secret(visit),
            instead_of=visit.cookie(COOKIE),
            client_address=visit.client_address,
        )
        lifetime = (started.row.ends_at - started.row.created_at) // 1000
        # Strict would keep it from coming along right now: to the browser it is the hub that leads on from here. And
        # from links in mails. Lax keeps it from what other sites post; what siblings post, the gate keeps out.
        kept = write_cookie(COOKIE, started.token.reveal(), max_age=lifetime, same_site="Lax")
        await visit.redirect(target, kept)

    async def _leave(self, visit: Visit) -> None:
        token = visit.cookie(COOKIE)
        try:
            if token is None:
                raise UnauthenticatedError("no session")
            identity, session = await self.authenticator.by_app_session(token, visit.app.public_addr)
        except RefusedError:
            await self._left(visit)
            return
        if visit.method != b"POST":
            await self._ask_to_leave(visit, identity.name)
            return
        if who_asks(visit.method, visit.headers, visit.origin.encode(), ()) is not PageOrigin.OWN:
            message = "another application's page tried to end your session here, and was stopped"
            await visit.answer(403, "Not allowed", message)
            return
        # Not found: another tab was faster.
        with suppress(NotFoundError):
            await self.sessions.end(session.id, by=identity, client_address=visit.client_address)
        await self._left(visit)

    async def _ask_to_leave(self, visit: Visit, user: str) -> None:
        """A link that somebody else has set must not end anything."""
        app = html.escape(visit.app.name)
        body = LEAVE_PAGE.format(app=app, user=html.escape(user)).encode()
        headers = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", str(len(body)).encode("ascii")),
            (b"content-security-policy", POLICY),
            (b"cache-control", b"no-store"),
            (b"x-content-type-options", b"nosniff"),
        ]
        await visit.send({"type": "http.response.start", "status": 200, "headers": headers})
        await visit.send({"type": "http.response.body", "body": body})

    async def _left(self, visit: Visit) -> None:
        hub = self.logins.addresses.web_url()
        await visit.answer(
            200,
            f"You have left {visit.app.name}",
            f"Your session at {visit.app.name} is over. You may still be logged in at the hub and at other "
            "applications: log out there to end all of it.",
            link=("To the hub", f"{hub}/"),
        )


def _browser_secret(visit: Visit) -> str | None:
    """What ties this browser to its ways; None when it has nothing of ours."""
    secret = visit.cookie(STATE_COOKIE)
    return secret if secret is not None and SECRET.fullmatch(secret) else None


async def _code(receive: Receive) -> str:
    """Read the form. :raises InvalidRequestError: it is not what the hub's page sends."""
    body = b""
    with trio.move_on_after(FORM_SECONDS):
        while len(body) <= MAX_FORM:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                code = str(dict(parse_qsl(body[: MAX_FORM + 1].decode("latin-1"))).get("code", ""))
                if len(body) <= MAX_FORM and SECRET.fullmatch(code) is not None:
                    return code
                break
    raise InvalidRequestError("this is not the form of the hub's own page: open the application again")
