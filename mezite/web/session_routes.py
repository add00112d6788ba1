# SPDX-License-Identifier: Apache-2.0
"""Who I am, and where I am logged in."""

from __future__ import annotations

from typing import Any

import attrs
import quart

from mezite.services.factors.own_factors import OwnFactors
from mezite.services.identity.identities import UserIdentity
from mezite.services.users.own_sessions import OwnSessions
from mezite.web import browser_session
from mezite.web.route_table import RouteTable, bearer_token, client_address

__all__ = ["SessionRoutes"]


@attrs.frozen(kw_only=True)
class SessionRoutes:
    """`me` and `sessions`."""

    sessions: OwnSessions
    factors: OwnFactors

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        table.private("GET", "/v1/webapi/me", self._me, "self.get", "account")
        table.private("GET", "/v1/webapi/sessions", self._list, "self.sessions.list", "account")
        table.private("DELETE", "/v1/webapi/sessions/<id>", self._end, "self.sessions.end", "account")

    async def _me(self, identity: UserIdentity) -> dict[str, Any]:
        known = {
            "user": identity.name,
            "roles": list(identity.roles),
            "expires_at_ms": identity.expires_at,
            "factors_count": len(await self.factors.listed(identity)),
        }
        secret = browser_session.cookie_secret()
        if bearer_token() is None and secret is not None:
            known["csrf_token"] = browser_session.csrf_token(secret)
        return known

    async def _list(self, identity: UserIdentity) -> dict[str, Any]:
        return {
            "sessions": [
                {
                    "id": session.id,
                    "kind": session.kind,
                    "host": session.host or None,
                    "created_at_ms": session.created_at,
                    "expires_at_ms": session.expires_at,
                    "client_ip": session.client_address,
                    "this": session.is_this,
                }
                for session in await self.sessions.listed(identity)
            ]
        }

    async def _end(self, identity: UserIdentity) -> dict[str, Any]:
        session_id = (quart.request.view_args or {})["id"]
        await self.sessions.end(identity, session_id, client_address=client_address())
        return {"ended": True}
