# SPDX-License-Identifier: Apache-2.0
"""What stands in front of every application: whose host it is, who comes, from whose page, and whether they may.

Nothing passes without a session for that very host and an answer of `authorize()`, and nothing goes on without them
either: a request in flight is cut when one of them is taken away (threats D11, D16, D17, D18, E14).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs

from mezite.core.apps.app import App, AppProtocol
from mezite.core.http1.browser_request import (
    PageOrigin,
    Preflight,
    is_for_a_page,
    preflight,
    socket_origin,
    who_asks,
)
from mezite.core.http1.host_table import host_name
from mezite.core.rbac.role_options import SessionMfa
from mezite.handlers.app_own_pages import LOGIN_PATH, AppOwnPages
from mezite.handlers.app_visit import COOKIE, OWN_PATHS, Visit, asked_host
from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import Message, Receive, Scope, Send
from mezite.net.http1_request import PATIENCE
from mezite.services.access.live_access import LiveAccess, LiveEntry, LiveKind
from mezite.services.apps.admission import VERB, AppAdmission, proof_of_session
from mezite.services.apps.catalog import app_resource
from mezite.services.apps.session_memory import AppSessionMemory
from mezite.services.apps.sessions import AppSessions
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.errors import (
    AccessDeniedError,
    LockedError,
    RefusedError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.identity.identities import UserIdentity
from mezite.storage.app_sessions import AppSessionRow
from mezite.storage.errors import StorageError

__all__ = ["AppGate", "Forward"]

Forward = Callable[[App, UserIdentity, Scope, Receive, Send], Awaitable[None]]
"""Passes one request or WebSocket on to the application."""

PREFLIGHT_SECONDS = 600
"""Chromium remembers an answer for two hours at most; a list that was made shorter counts after ten minutes."""

MAX_OF_ONE_USER = 400
"""In flight on one hub, WebSockets included. The tunnel of an agent has 1,024 channels, for SSH as well, and whoever
comes from two addresses could take them all. A browser opens six connections to a host, and WebSockets besides."""

_STATUS: dict[type[RefusedError], tuple[int, str]] = {
    AccessDeniedError: (403, "Not allowed"),
    LockedError: (403, "Locked"),
    TooManyRequestsError: (429, "Too many requests"),
    UnauthenticatedError: (403, "That did not work"),
    UnavailableError: (503, "Try again later"),
}


@attrs.define(eq=False, kw_only=True)
class AppGate:
    """An ASGI application: all applications of a hub."""

    app_at: Callable[[str], Awaitable[App | None]]
    """The application of a host."""
    forward: Forward
    pages: AppOwnPages
    authenticator: Authenticator
    admission: AppAdmission
    sessions: AppSessions
    memory: AppSessionMemory
    live: LiveAccess
    _in_flight: Counter[str] = attrs.field(factory=Counter, init=False)
    """Requests and WebSockets, by user."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        host = host_name(asked_host(scope))
        try:
            app = await self.app_at(host)
        except StorageError:
            await answer(scope, send, 503, "Try again later", "the database does not answer: try again later")
            return
        if app is None or app.protocol is AppProtocol.TCP:
            message = f"there is no application at {host}: look at the list of applications of this hub"
            await answer(scope, send, 404, "No such application", message)
            return
        visit = Visit(app, scope, send)
        try:
            await self._serve(visit, receive)
        except RefusedError as refused:
            status, title = _STATUS.get(type(refused), (400, "That did not work"))
            link = (
                ("Open the application", f"{visit.origin}/")
                if status != 403 or refused_code(refused)
                else None
            )
            details = {"event_id": refused.event_id}
            await visit.answer(status, title, str(refused), link=link, details=details)
        except (AuditUnavailableError, StorageError):
            message = "the hub's database does not answer, so nothing is done: try again later"
            await visit.answer(503, "Try again later", message)

    async def _serve(self, visit: Visit, receive: Receive) -> None:
        app = visit.app
        if visit.scope["path"].startswith(OWN_PATHS):
            await self.pages.serve(visit, receive)
            return
        if not app.enabled:
            raise UnavailableError(f"application {app.name} is disabled: ask an administrator, or try later")
        asked = preflight(visit.method, visit.headers)
        if asked is not None:
            await self._answer_preflight(visit, asked)
            return
        origin = self._origin(visit)
        if origin is PageOrigin.FOREIGN:
            await self._refuse_page(visit)
            return
        if origin is PageOrigin.LISTED:
            visit = attrs.evolve(visit, cors=cors_fields(origin_of(visit)))
        try:
            identity, session = await self._session(visit)
        except UnauthenticatedError:
            await self._ask_to_log_in(visit)
            return
        await self._pass_on(visit, receive, identity, session)

    async def _session(self, visit: Visit) -> tuple[UserIdentity, AppSessionRow]:
        """:raises UnauthenticatedError: there is none, or no longer. :raises LockedError: of a user with a lock."""
        token = visit.cookie(COOKIE)
        if token is None:
            raise UnauthenticatedError("there is no session for this application")
        return await self.memory.find(token, visit.app.public_addr)

    async def _pass_on(
        self, visit: Visit, receive: Receive, identity: UserIdentity, session: AppSessionRow
    ) -> None:
        """Forward for as long as the user may."""
        context = self.authenticator.context(visit.client_address)
        proof = proof_of_session(session, visit.app)
        if proof is not None:
            context = attrs.evolve(context, proof=proof)
        asking = attrs.evolve(context, asks_proof=True)
        decision = await self.admission.require(identity, visit.app, asking)
        if decision.needs_mfa is not SessionMfa.NONE:
            # Roles ask for it since this session began: on the way to the next one it is shown.
            await self._ask_to_log_in(visit)
            return
        await self.sessions.renew(session)
        entry = LiveEntry(
            kind=LiveKind.APP,
            identity=identity,
            verb=VERB,
            resource=app_resource(visit.app),
            context=context,
            name=session.id,
            ends_at=identity.expires_at,
        )
        if self._in_flight[identity.name] >= MAX_OF_ONE_USER:
            message = (
                f"you have {MAX_OF_ONE_USER} requests and WebSockets open at applications: close some of them"
            )
            raise TooManyRequestsError(message)
        reply = _Reply(visit)
        state = {
            "decision_id": context.decision_id,
            "idle_timeout": decision.idle_timeout,
            "why_cut": lambda: entry.reason,
        }
        scope = {**visit.scope, "state": visit.scope["state"] | state}
        scope["extensions"][PATIENCE]()
        with self._counted(identity), self.sessions.held(session), self.live.hold(entry):
            await self.forward(visit.app, identity, scope, receive, reply.send)
        if entry.reason and not reply.begun:
            # What had begun is broken off, which says enough.
            await visit.answer(403, "Not allowed", entry.reason)

    @contextmanager
    def _counted(self, identity: UserIdentity) -> Iterator[None]:
        self._in_flight[identity.name] += 1
        try:
            yield
        finally:
            self._in_flight[identity.name] -= 1
            if not self._in_flight[identity.name]:
                del self._in_flight[identity.name]

    # -- who is not let in

    async def _ask_to_log_in(self, visit: Visit) -> None:
        """A person is led to the login and back; a script is told where it is, and never redirected."""
        if visit.leads_somewhere:
            await self.pages.send_to_login(visit, visit.target)
            return
        url = f"{visit.origin}{LOGIN_PATH}"
        message = f"you are not logged in at {visit.app.name}: log in"
        if not visit.is_websocket and is_for_a_page(visit.headers):
            message += ", then do it again; what you have sent did not arrive"
        details = {"code": "login_required", "login_url": url}
        await visit.answer(401, "Log in first", message, link=("Log in", url), details=details)

    @staticmethod
    def _origin(visit: Visit) -> PageOrigin:
        own, listed = visit.origin.encode("ascii"), visit.app.options.cors_origins
        if visit.is_websocket:
            return socket_origin(visit.headers, own, listed)
        return who_asks(visit.method, visit.headers, own, listed)

    async def _refuse_page(self, visit: Visit) -> None:
        """Another application's page asks with this one's cookie (threats D11, D16, D21)."""
        message = (
            f"the page that asks is not one of {visit.app.name}: an administrator can allow its origin with "
            f"`mezctl apps update {visit.app.name} --cors-origins`"
        )
        await visit.answer(403, "Not allowed", message, details={"code": "foreign_origin"})

    async def _answer_preflight(self, visit: Visit, asked: Preflight) -> None:
        """It carries no cookie, so nobody can log in for it: the list of origins alone decides."""
        allowed = {visit.origin, *visit.app.options.cors_origins}
        if asked.origin.decode("latin-1") not in allowed:
            await self._refuse_page(visit)
            return
        headers = [
            *cors_fields(asked.origin),
            (b"access-control-allow-methods", asked.method),
            *([(b"access-control-allow-headers", asked.headers)] if asked.headers else []),
            (b"access-control-max-age", str(PREFLIGHT_SECONDS).encode("ascii")),
        ]
        await visit.send({"type": "http.response.start", "status": 204, "headers": headers})
        await visit.send({"type": "http.response.body", "body": b""})


@attrs.define(eq=False)
class _Reply:
    """The application's answer on its way out."""

    visit: Visit
    begun: bool = False

    async def send(self, message: Message) -> None:
        if message["type"].endswith(".start"):
            self.begun = True
            if self.visit.cors:
                kept = [field for field in message.get("headers", ()) if not is_about_cors(field[0])]
                message = {**message, "headers": [*kept, *self.visit.cors]}
        await self.visit.send(message)


def origin_of(visit: Visit) -> bytes:
    return next(value for name, value in visit.headers if name == b"origin")


def cors_fields(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """What lets the pages of an origin read an answer that was made for their user."""
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"Origin"),
    )


def is_about_cors(name: bytes) -> bool:
    """Whether the hub decides about this field; which of its fields a page may read is the application's to say."""
    return name.lower() in (b"access-control-allow-origin", b"access-control-allow-credentials")


def refused_code(refused: RefusedError) -> bool:
    """Whether it was about a code, so that beginning again helps."""
    return isinstance(refused, UnauthenticatedError)
