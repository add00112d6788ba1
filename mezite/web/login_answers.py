# SPDX-License-Identifier: Apache-2.0
"""What a login answers, whatever proved the user: a secret for a program, or a cookie for a browser."""

from __future__ import annotations

from typing import Any

import attrs

from mezite.services.login.password_login import LoggedIn
from mezite.services.users.own_sessions import OwnSessions
from mezite.storage.web_sessions import WebSessionKind
from mezite.web import browser_session
from mezite.web.route_table import client_address

__all__ = ["LoginAnswers"]


@attrs.frozen(kw_only=True)
class LoginAnswers:
    """Ask `kind` before the login and `started` behind it."""

    sessions: OwnSessions

    def kind(self, *, cookie: bool) -> WebSessionKind:
        """Return what kind of session to start.

        :raises AccessDeniedError: a cookie is wanted by the page of another site, which could log somebody in as
            somebody else that way.
        """
        if not cookie:
            return WebSessionKind.API
        browser_session.check_same_origin()
        return WebSessionKind.WEB

    async def started(self, started: LoggedIn, kind: WebSessionKind) -> dict[str, Any]:
        """Return the body of the answer.

        For a browser the secret goes into the cookie only, and the session it had before ends: whoever had got hold of
        that one does not come along.
        """
        secret = started.token.reveal()
        answer: dict[str, Any] = {
            "user": started.user.name,
            "roles": list(started.user.roles),
            "expires_at_ms": started.expires_at,
        }
        if kind is not WebSessionKind.WEB:
            return {"session": secret, **answer}
        before = browser_session.cookie_secret()
        if before is not None:
            await self.sessions.replace(before, client_address=client_address())
        lifetime = started.expires_at - self.sessions.sources.now()
        browser_session.remember(started.token, seconds=lifetime // 1000)
        return {**answer, "csrf_token": browser_session.csrf_token(secret)}
