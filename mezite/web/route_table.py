# SPDX-License-Identifier: Apache-2.0
"""How a route of the web API is made: with a verb and a kind of resource, or it cannot be served (threat E13).

A request carries a bearer token, or the cookie of a browser session and then also what `browser_session` asks for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import quart
from quart_trio import QuartTrio

from mezite.core.audit.event_types import EventType
from mezite.services.access.authorization import Resource, authorize
from mezite.services.access.verb_registry import Door, DoorKind, VerbRegistry
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.errors import AccessDeniedError, InvalidRequestError, UnauthenticatedError
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage.web_sessions import WebSessionKind
from mezite.web import browser_session
from mezite.web.static_pages import PAGE_POLICY, StaticPage

__all__ = ["RouteTable", "bearer_token", "client_address"]

_Handler = Callable[[UserIdentity], Awaitable[dict[str, Any]]]
_PublicHandler = Callable[[], Awaitable[dict[str, Any]]]
_AnsweringHandler = Callable[[], Awaitable[quart.Response]]


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
        refusals: CredentialRefusals,
    ) -> None:
        self._app = app
        self._verbs = verbs
        self._authenticator = authenticator
        self._audit = audit
        self._sources = sources
        self._refusals = refusals

    def public(self, method: str, path: str, handler: _PublicHandler, verb: str, resource: str) -> None:
        """Serve `path` to anybody: the handler checks what the request carries, if it needs anything."""
        door = Door(kind=DoorKind.ROUTE, name=f"{method} {path}", verb=verb, resource=resource, public=True)

        async def view() -> quart.Response:
            return quart.jsonify(await handler())

        self._route(door, method, path, view)

    def answering(self, method: str, path: str, handler: _AnsweringHandler, verb: str, resource: str) -> None:
        """Serve `path` to anybody, with whatever answer the handler makes: a page, a redirect.

        The handler checks what the request carries; `<parts>` of the path are in `quart.request.view_args`.
        """
        door = Door(kind=DoorKind.ROUTE, name=f"{method} {path}", verb=verb, resource=resource, public=True)

        async def view(**_parts: str) -> quart.Response:
            return await handler()

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
        """Serve `path` to users whom `authorize()` allows `verb`; its `<parts>` are in `quart.request.view_args`."""
        door = Door(kind=DoorKind.ROUTE, name=f"{method} {path}", verb=verb, resource=resource)

        async def view(**_parts: str) -> quart.Response:
            identity = await self._identify(door)
            await self._authorize(identity, door)
            return quart.jsonify(await handler(identity))

        self._route(door, method, path, view)

    def _route(
        self, door: Door, method: str, path: str, view: Callable[..., Awaitable[quart.Response]]
    ) -> None:
        async def checked(**parts: str) -> quart.Response:
            _check_text(parts)
            return await view(**parts)

        self._verbs.register(door)
        self._app.add_url_rule(
            path, endpoint=door.name, view_func=checked, methods=[method], provide_automatic_options=False
        )

    async def _identify(self, door: Door) -> UserIdentity:
        token = bearer_token()
        if token is not None:
            async with self._refusals.recorded(client_address(), "web"):
                return await self._authenticator.by_session(token)
        secret = None if "authorization" in quart.request.headers else browser_session.cookie_secret()
        if secret is None:
            raise UnauthenticatedError("this needs a session: log in and send it as Authorization: Bearer")
        async with self._refusals.recorded(client_address(), "web"):
            identity = await self._authenticator.by_session(secret, WebSessionKind.WEB)
        try:
            browser_session.check_request(secret)
        except AccessDeniedError as foreign:
            raise await self._refused(identity, door, str(foreign), self._sources.new_id()) from None
        return identity

    async def _authorize(self, identity: UserIdentity, door: Door) -> None:
        context = self._authenticator.context(client_address())
        decision = authorize(identity, door.verb, Resource(kind=door.resource), context)
        if decision.allowed:
            return
        reason = f"{decision.reason}; ask an administrator"
        raise await self._refused(identity, door, reason, decision.decision_id)

    async def _refused(
        self, identity: UserIdentity, door: Door, reason: str, decision_id: str
    ) -> AccessDeniedError:
        event_id = await self._audit.emit(
            EventType.AUTHZ_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type=door.resource,
            client_ip=client_address(),
            success=False,
            error_message=reason.partition(";")[0],
            decision_id=decision_id,
            verb=door.verb,
        )
        return AccessDeniedError(
            f"{door.verb} is not allowed: {reason} (event {event_id})", event_id=event_id
        )


def _check_text(parts: Mapping[str, str]) -> None:
    """:raises InvalidRequestError: the address has a NUL in it, which PostgreSQL does not store (threat P20)."""
    given = (*parts.values(), *(value for _, value in quart.request.args.items(multi=True)))
    if any("\0" in text for text in given):
        raise InvalidRequestError("there is a NUL character in the address: leave it out")


def bearer_token() -> str | None:
    """The token in the Authorization field; None without one. Where it is, a cookie means nothing."""
    scheme, _, token = quart.request.headers.get("authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" and token else None


def client_address() -> str:
    """The address of the HTTP peer; never empty (threat C3)."""
    client = quart.request.scope.get("client") or ("unknown", 0)
    return f"[{client[0]}]:{client[1]}" if ":" in client[0] else f"{client[0]}:{client[1]}"
