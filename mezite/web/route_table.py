# SPDX-License-Identifier: Apache-2.0
"""How a route of the web API is made: with a verb and a kind of resource, or it cannot be served (threat E13).

State-changing requests carry a bearer token; there are no cookies yet, so there is nothing for another site to ride
on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import quart
from quart_trio import QuartTrio

from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditLog
from mezite.services.authentication import Authenticator
from mezite.services.authorization import AccessContext, Resource, authorize
from mezite.services.errors import AccessDeniedError, UnauthenticatedError
from mezite.services.identity import UserIdentity
from mezite.services.sources import Sources
from mezite.services.verb_registry import Door, DoorKind, VerbRegistry
from mezite.web.static_pages import PAGE_POLICY, StaticPage

__all__ = ["RouteTable", "client_address"]

_Handler = Callable[[UserIdentity], Awaitable[dict[str, Any]]]
_PublicHandler = Callable[[], Awaitable[dict[str, Any]]]


class RouteTable:
    """The routes of one application; each is declared in the registry of doors as it is added."""

    def __init__(
        self,
        app: QuartTrio,
        verbs: VerbRegistry,
        *,
        authenticator: Authenticator,
        audit: AuditLog,
        sources: Sources,
    ) -> None:
        self._app = app
        self._verbs = verbs
        self._authenticator = authenticator
        self._audit = audit
        self._sources = sources

    def public(self, method: str, path: str, handler: _PublicHandler, verb: str, resource: str) -> None:
        """Serve `path` to anybody: the handler checks what the request carries, if it needs anything."""
        door = Door(kind=DoorKind.ROUTE, name=f"{method} {path}", verb=verb, resource=resource, public=True)

        async def view() -> quart.Response:
            return quart.jsonify(await handler())

        self._route(door, method, path, view)

    def page(self, page: StaticPage) -> None:
        """Serve a page that is the same for everybody."""
        door = Door(
            kind=DoorKind.ROUTE, name=f"GET {page.path}", verb="pages.get", resource="page", public=True
        )
        body = page.read()

        async def view() -> quart.Response:
            headers = {"content-type": page.content_type, "content-security-policy": PAGE_POLICY}
            return quart.Response(body, headers=headers)

        self._route(door, "GET", page.path, view)

    def private(self, method: str, path: str, handler: _Handler, verb: str, resource: str) -> None:
        """Serve `path` to users whom `authorize()` allows `verb`."""
        door = Door(kind=DoorKind.ROUTE, name=f"{method} {path}", verb=verb, resource=resource)

        async def view() -> quart.Response:
            identity = await self._identify()
            await self._authorize(identity, door)
            return quart.jsonify(await handler(identity))

        self._route(door, method, path, view)

    def _route(
        self, door: Door, method: str, path: str, view: Callable[[], Awaitable[quart.Response]]
    ) -> None:
        self._verbs.register(door)
        self._app.add_url_rule(
            path, endpoint=door.name, view_func=view, methods=[method], provide_automatic_options=False
        )

    async def _identify(self) -> UserIdentity:
        scheme, _, token = quart.request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise UnauthenticatedError("this needs a session: log in and send it as Authorization: Bearer")
        return await self._authenticator.by_session(token)

    async def _authorize(self, identity: UserIdentity, door: Door) -> None:
        context = AccessContext(client_address=client_address(), decision_id=self._sources.new_id())
        decision = authorize(identity, door.verb, Resource(kind=door.resource), context)
        if decision.allowed:
            return
        event_id = await self._audit.emit(
            EventType.AUTHZ_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type=door.resource,
            client_ip=client_address(),
            success=False,
            error_message=decision.reason,
            decision_id=decision.decision_id,
            verb=door.verb,
        )
        raise AccessDeniedError(
            f"{door.verb} is not allowed: {decision.reason}; ask an administrator (event {event_id})",
            event_id=event_id,
        )


def client_address() -> str:
    """The address of the HTTP peer; never empty (threat C3)."""
    client = quart.request.scope.get("client") or ("unknown", 0)
    return f"[{client[0]}]:{client[1]}" if ":" in client[0] else f"{client[0]}:{client[1]}"
