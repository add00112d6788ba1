# SPDX-License-Identifier: Apache-2.0
"""A browser's way to an application that does not know it: to the hub, which does, and back (threats D18, D19).

It leaves the application's host with a key for what it wanted and a cookie of that host; at the hub it proves who it is
as everywhere; it comes back with a code in the body of a form. The code is good once, for a minute, at that host, and
in the browser that has the cookie: whoever reads along, or is led there by somebody else, has nothing of it. What the
browser wanted stays here, so no address is believed that came along.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import attrs

from mezite.core.apps.app import App
from mezite.core.attempt_budget import AttemptBudget
from mezite.core.audit.event_types import EventType
from mezite.core.rbac.role_options import SessionMfa
from mezite.core.secret import Secret, token_hash
from mezite.services.access.authorization import AccessContext, Decision
from mezite.services.apps.admission import AppAdmission
from mezite.services.apps.sessions import IDLE_MS, AppSessions, StartedAppSession
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authentication.source_limit import SecretGuesses, SourceLimit
from mezite.services.errors import InvalidRequestError, NotFoundError, UnauthenticatedError, UnavailableError
from mezite.services.identity.identities import UserIdentity
from mezite.services.proofs.pending_proof import PendingProof
from mezite.services.proofs.session_proof import SessionProofs
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.storage import app_logins
from mezite.storage.app_logins import AppCodeRow, AppLoginRow
from mezite.storage.database import Database
from mezite.storage.one_time import ConsumeFailure

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ENTER_PATH", "RETURN_PATH", "AppLogins", "BegunAppLogin", "HandOver"]

ENTER_PATH = "/apps/enter"
"""On the hub's host; behind it stands the key."""

RETURN_PATH = "/.mezite/enter"
"""On the application's host. Nothing below `/.mezite/` reaches the application."""

LOGIN_MS = 10 * 60 * 1000
"""To log in on the way: as long as a round trip to a provider may take."""

CODE_MS = 60 * 1000
"""The form is sent by the page that holds it; a minute is for whoever has no scripts and presses the button."""

MAX_UNDER_WAY = 20_000
"""Of the whole cluster; at most some 10 KB each."""

_OVER = (
    "this way to an application was used already or is more than 10 minutes old: open the application again"
)
_STRANGE = "this code is not one for this browser and this application, was used already, or is more than a minute old"


@attrs.frozen(kw_only=True)
class BegunAppLogin:
    """A browser is sent to the hub."""

    url: str
    browser_secret: Secret
    """What its cookie at the application's host holds until it is back."""


@attrs.frozen(kw_only=True)
class HandOver:
    """A browser is sent back."""

    app: App
    url: str
    """Where the code is posted to: a URL of the application's host."""
    code: Secret


@attrs.define(eq=False, kw_only=True)
class AppLogins:
    """The ways of one hub."""

    database: Database
    audit: AuditLog
    sources: Sources
    addresses: PublicAddresses
    authenticator: Authenticator
    app_at: Callable[[str], Awaitable[App | None]]
    """The application of a host."""
    admission: AppAdmission
    sessions: AppSessions
    proofs: SessionProofs
    refusals: RefusalLog
    _starts: SourceLimit = attrs.field(
        init=False,
        factory=lambda: SourceLimit(
            what="ways to applications begun",
            # An office behind one address on a Monday, a few applications each; then one in two seconds.
            budget=AttemptBudget(burst=400, interval=2.0),
        ),
    )
    _failures: SecretGuesses = attrs.field(init=False)

    @_failures.default
    def _default_failures(self) -> SecretGuesses:
        return SecretGuesses("hand-over codes", EventType.APP_LOGIN_FAILED, self.refusals)

    async def begin(
        self, host: str, target: str, *, browser_secret: str | None, client_address: str
    ) -> BegunAppLogin:
        """Send a browser to the hub that wants `target`, a URL of the application at `host`.

        `browser_secret` is what its cookie holds from another way that is not over: several tabs may be on theirs.

        When too many are under way, the oldest are over.

        :raises TooManyRequestsError: too many were begun from this address.
        """
        self._starts.take(client_address)
        now, key = self.sources.now(), self.sources.new_secret()
        secret = browser_secret or self.sources.new_secret()
        login = AppLoginRow(
            token_hash=token_hash(key),
            browser_hash=token_hash(secret),
            host=host,
            target=target,
            client_ip=client_address,
            created_at=now,
            expires_at=now + LOGIN_MS,
        )
        await self.database.write(_begin, login)
        return BegunAppLogin(
            url=f"{self.addresses.web_url()}{ENTER_PATH}/{key}", browser_secret=Secret(secret)
        )

    async def wanted(self, key: str) -> App:
        """Return the application that a key leads to.

        :raises InvalidRequestError: the way is over. :raises RefusedError: the application cannot be used now.
        """
        return await self._app(await self._login(key))

    async def enter(self, identity: UserIdentity, key: str, *, client_address: str) -> HandOver | None:
        """Let the user of a web session go back to the application that the key leads to.

        None: a second factor has to be shown first, as `ask_proof` asks for it.

        :raises InvalidRequestError: the way is over.
        :raises AccessDeniedError: the user may not use this application; audited.
        :raises NotFoundError: it was removed. :raises UnavailableError: it is disabled.
        """
        login = await self._login(key)
        app = await self._app(login)
        context = self._context(client_address)
        decision = await self.admission.require(identity, app, context)
        factor = ""
        if decision.needs_mfa is not SessionMfa.NONE:
            proof = await self.proofs.take_for_app(identity, app.name)
            context = attrs.evolve(context, proof=proof)
            decision = await self.admission.require(identity, app, context)
            if proof is None or decision.needs_mfa is not SessionMfa.NONE:
                return None
            factor = proof.factor.value
        return await self._hand_over(identity, login, app, decision, factor)

    async def ask_proof(
        self, identity: UserIdentity, key: str, *, client_address: str
    ) -> tuple[App, PendingProof | None]:
        """Return the application that the key leads to, and the proof that waits if one is needed.

        :raises RefusedError: as `enter`, and when the user has no factor that would do.
        """
        app = await self.wanted(key)
        decision = await self.admission.require(identity, app, self._context(client_address))
        if decision.needs_mfa is SessionMfa.NONE:
            return app, None
        needs = decision.needs_mfa
        return app, await self.proofs.begin_for_app(identity, app.name, needs, client_address=client_address)

    def _context(self, client_address: str) -> AccessContext:
        """The proof is asked for here, before the code is given away."""
        return attrs.evolve(self.authenticator.context(client_address), asks_proof=True)

    async def _hand_over(
        self, identity: UserIdentity, login: AppLoginRow, app: App, decision: Decision, factor: str
    ) -> HandOver:
        now, code = self.sources.now(), self.sources.new_secret()
        row = AppCodeRow(
            token_hash=token_hash(code),
            browser_hash=login.browser_hash,
            host=login.host,
            target=login.target,
            web_session=identity.session_hash,
            factor=factor,
            idle_ms=min(decision.idle_timeout * 1000 or IDLE_MS, IDLE_MS),
            ends_at=min(now + decision.max_session_ttl * 1000, identity.expires_at),
            created_at=now,
            expires_at=now + CODE_MS,
        )

        def store(conn: Connection) -> bool:
            if isinstance(app_logins.consume(conn, token_hash=login.token_hash, now=now), ConsumeFailure):
                return False
            app_logins.insert_code(conn, code=row)
            return True

        if not await self.database.write(store):
            raise InvalidRequestError(_OVER)
        parts = urlsplit(login.target)
        return HandOver(app=app, url=f"{parts.scheme}://{parts.netloc}{RETURN_PATH}", code=Secret(code))

    async def redeem(
        self,
        code: str,
        host: str,
        *,
        browser_secret: str | None,
        instead_of: str | None,
        client_address: str,
    ) -> tuple[StartedAppSession, str]:
        """Take a code at the application of `host`; return the session that begins, and the URL that was wanted.

        Whatever is wrong with it, the code is used up. `instead_of` is the secret of the session that this browser had
        before, which ends.

        :raises UnauthenticatedError: it is refused, and audited.
        :raises TooManyRequestsError: too many wrong ones came from this address.
        """
        self._failures.count(client_address)
        found = await self.database.write(
            app_logins.consume_code, token_hash=token_hash(code), now=self.sources.now()
        )
        why, started = "", None
        if isinstance(found, ConsumeFailure):
            why = f"the code is {found.value}"
        elif found.host != host:
            why = f"the code is for {found.host}"
        elif not hmac.compare_digest(found.browser_hash, token_hash(browser_secret or "")):
            why = "the code is for another browser"
        else:
            started = await self.sessions.start(found, instead_of=instead_of, client_address=client_address)
            why = "" if started else "the login has ended"
        if started is None or isinstance(found, ConsumeFailure):
            event_id = await self._failures.was_wrong(
                client_address, error_message=why, resource_type="app", resource_name=host
            )
            raise UnauthenticatedError(f"{_STRANGE}: open the application again", event_id=event_id)
        self._failures.was_right(client_address)
        await self._audit_start(started, host, client_address)
        return started, found.target

    async def _audit_start(self, started: StartedAppSession, host: str, client_address: str) -> None:
        app = await self.app_at(host)
        await self.audit.emit(
            EventType.APP_LOGIN,
            user_name=started.row.user_name,
            resource_type="app",
            resource_name=host if app is None else app.name,
            client_ip=client_address,
            session_id=started.row.id,
            factor=started.row.factor,
        )

    async def _login(self, key: str) -> AppLoginRow:
        login = await self.database.read(
            app_logins.get_live, token_hash=token_hash(key), now=self.sources.now()
        )
        if login is None:
            raise InvalidRequestError(_OVER)
        return login

    async def _app(self, login: AppLoginRow) -> App:
        app = await self.app_at(login.host)
        if app is None:
            raise NotFoundError(f"there is no application at {login.host} any more")
        if not app.enabled:
            raise UnavailableError(f"application {app.name} is disabled: ask an administrator, or try later")
        return app


def _begin(conn: Connection, login: AppLoginRow) -> None:
    app_logins.delete_stale(conn, before=login.created_at)
    if app_logins.count_live(conn, now=login.created_at) >= MAX_UNDER_WAY:
        # Refusing would let a few dozen addresses shut everybody out; who has just come has the longest way to go.
        app_logins.delete_oldest(conn, count=MAX_UNDER_WAY // 100)
    app_logins.insert(conn, login=login)
