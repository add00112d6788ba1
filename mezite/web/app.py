# SPDX-License-Identifier: Apache-2.0
"""The web API under `/v1/webapi/`, as a Quart-Trio application.

Every route is added with a verb and a kind of resource, or it cannot be served (threat E13). State-changing requests
carry a bearer token; there are no cookies yet, so there is nothing for another site to ride on.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import quart
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from mezite import __version__
from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditLog, AuditUnavailableError
from mezite.services.authentication import Authenticator
from mezite.services.authorization import AccessContext, Resource, authorize
from mezite.services.certificate_authority import CertificateAuthorities
from mezite.services.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    RefusedError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.identity import UserIdentity
from mezite.services.login import LoginRefusedError, LoginService, WeakPasswordError
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.services.user_certificates import UserCertificateService
from mezite.services.verb_registry import Door, DoorKind, VerbRegistry
from mezite.web.json_body import read_fields
from mezite.web.static_pages import PAGE_POLICY, PAGES, StaticPage

__all__ = ["WebServices", "create_app"]

_log = logging.getLogger("mezite.web")

MAX_BODY = 64 * 1024
"""The largest honest request is two public keys."""

_STATUS: dict[type[RefusedError], int] = {
    AccessDeniedError: 403,
    ConflictError: 409,
    InvalidRequestError: 400,
    LockedError: 403,
    NotFoundError: 404,
    TooManyRequestsError: 429,
    UnauthenticatedError: 401,
    UnavailableError: 503,
}

_Handler = Callable[[UserIdentity], Awaitable[dict[str, Any]]]
_PublicHandler = Callable[[], Awaitable[dict[str, Any]]]


@attrs.frozen(kw_only=True)
class WebServices:
    """What the routes call."""

    authenticator: Authenticator
    login: LoginService
    certificates: UserCertificateService
    authorities: CertificateAuthorities
    audit: AuditLog
    sources: Sources
    addresses: PublicAddresses


def create_app(services: WebServices, verbs: VerbRegistry) -> QuartTrio:
    """Return the application; its routes are declared in `verbs`."""
    app = QuartTrio("mezite", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    _Routes(app, services, verbs).add_all()
    app.register_error_handler(Exception, _failure)
    app.after_request(_protect)
    return app


class _Routes:
    def __init__(self, app: QuartTrio, services: WebServices, verbs: VerbRegistry) -> None:
        self._app = app
        self._services = services
        self._verbs = verbs

    def add_all(self) -> None:
        for page in PAGES:
            self._page(page)
        self._public("GET", "/v1/webapi/ping", self._ping, "cluster.ping", "cluster")
        self._public("GET", "/v1/webapi/ca", self._ca, "cluster.ca", "cluster")
        self._public("POST", "/v1/webapi/login", self._login, "account.login", "account")
        self._public("POST", "/v1/webapi/invites/accept", self._accept_invite, "account.invite", "account")
        self._private("POST", "/v1/webapi/logout", self._logout, "self.logout", "account")
        self._private(
            "POST", "/v1/webapi/certificates", self._certificates, "self.certificates.issue", "account"
        )

    # ---- how a route is made

    def _public(self, method: str, path: str, handler: _PublicHandler, verb: str, resource: str) -> None:
        door = Door(kind=DoorKind.ROUTE, name=f"{method} {path}", verb=verb, resource=resource, public=True)

        async def view() -> quart.Response:
            return quart.jsonify(await handler())

        self._route(door, method, path, view)

    def _page(self, page: StaticPage) -> None:
        door = Door(
            kind=DoorKind.ROUTE, name=f"GET {page.path}", verb="pages.get", resource="page", public=True
        )
        body = page.read()

        async def view() -> quart.Response:
            headers = {"content-type": page.content_type, "content-security-policy": PAGE_POLICY}
            return quart.Response(body, headers=headers)

        self._route(door, "GET", page.path, view)

    def _private(self, method: str, path: str, handler: _Handler, verb: str, resource: str) -> None:
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
        return await self._services.authenticator.by_session(token)

    async def _authorize(self, identity: UserIdentity, door: Door) -> None:
        context = AccessContext(client_address=_client(), decision_id=self._services.sources.new_id())
        decision = authorize(identity, door.verb, Resource(kind=door.resource), context)
        if decision.allowed:
            return
        event_id = await self._services.audit.emit(
            EventType.AUTHZ_DENIED,
            user_name=identity.name,
            user_roles=identity.roles,
            resource_type=door.resource,
            client_ip=_client(),
            success=False,
            error_message=decision.reason,
            decision_id=decision.decision_id,
            verb=door.verb,
        )
        raise AccessDeniedError(
            f"{door.verb} is not allowed: {decision.reason}; ask an administrator (event {event_id})",
            event_id=event_id,
        )

    # ---- the routes

    async def _ping(self) -> dict[str, Any]:
        return {
            "cluster_name": self._services.authorities.cluster,
            "version": __version__,
            "server_time_ms": self._services.sources.now(),
            "addresses": self._services.addresses.advertised(),
            "host_ca_pin": f"sha256:{self._services.authorities.host_pin}",
            "connectors": [],
            "capabilities": {"tunnel_websocket": True},
        }

    async def _ca(self) -> dict[str, Any]:
        return {"host_tls_ca_pem": self._services.authorities.host_tls_ca_pem}

    async def _login(self) -> dict[str, Any]:
        fields = await read_fields({"username": str, "password": str}, optional={"totp": str})
        try:
            started = await self._services.login.with_password(
                fields["username"], fields["password"], client_address=_client()
            )
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return {
            "session": started.token.reveal(),
            "user": started.user.name,
            "roles": list(started.user.roles),
            "expires_at_ms": started.expires_at,
        }

    async def _accept_invite(self) -> dict[str, Any]:
        fields = await read_fields({"token": str, "password": str})
        try:
            name = await self._services.login.accept_invite(
                fields["token"], fields["password"], client_address=_client()
            )
        except WeakPasswordError as weak:
            raise InvalidRequestError(str(weak)) from None
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
        return {"user": name}

    async def _logout(self, identity: UserIdentity) -> dict[str, Any]:
        return {"ended": await self._services.login.logout(identity, client_address=_client())}

    async def _certificates(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields(
            {"ssh_public_key": str, "tls_public_key_pem": str}, optional={"ttl_seconds": int}
        )
        issued = await self._services.certificates.issue(
            identity,
            ssh_public_key=fields["ssh_public_key"],
            tls_public_key_pem=fields["tls_public_key_pem"].encode(),
            ttl_seconds=fields.get("ttl_seconds", 0),
            client_address=_client(),
        )
        authorities = self._services.authorities
        return {
            "ssh_certificate": issued.certificates.ssh_certificate,
            "tls_certificate_pem": issued.certificates.tls_certificate_pem,
            "ssh_host_ca": authorities.host_ssh_ca_lines,
            "host_tls_ca_pem": authorities.host_tls_ca_pem,
            "cluster_name": authorities.cluster,
            "user": issued.user_name,
            "roles": list(issued.roles),
            "logins": list(issued.logins),
            "expires_at_ms": issued.certificates.expires_at,
        }


def _client() -> str:
    """The address of the HTTP peer; never empty (threat C3)."""
    client = quart.request.scope.get("client") or ("unknown", 0)
    return f"[{client[0]}]:{client[1]}" if ":" in client[0] else f"{client[0]}:{client[1]}"


async def _failure(error: Exception) -> tuple[quart.Response, int]:
    """One shape for everything that goes wrong: `{"error": {"message", "event_id"}}`."""
    if isinstance(error, RefusedError):
        status, message, event_id = _STATUS.get(type(error), 400), str(error), error.event_id
    elif isinstance(error, AuditUnavailableError):
        status, message, event_id = (
            503,
            "the audit log cannot be written, so nothing is done: try again later",
            "",
        )
    elif isinstance(error, HTTPException):
        status, message, event_id = error.code or 400, error.description or error.name, ""
    else:
        correlation_id = secrets.token_hex(8)
        _log.error("%s failed, correlation id %s", quart.request.path, correlation_id, exc_info=error)
        status, message, event_id = 500, f"internal error, correlation id {correlation_id}", ""
    response = quart.jsonify({"error": {"message": message, "event_id": event_id}})
    if isinstance(error, RefusedError) and error.retry_after:
        response.headers["retry-after"] = str(error.retry_after)
    return response, status


async def _protect(response: quart.Response) -> quart.Response:
    """Answers hold secrets and belong to one client: no cache, no frame, no referrer (threat D23)."""
    response.headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
    response.headers.update(
        {
            "cache-control": "no-store",
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "strict-transport-security": "max-age=31536000",
        }
    )
    return response
