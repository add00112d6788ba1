# SPDX-License-Identifier: Apache-2.0
"""Signing in through a connector: a browser goes to the provider and comes back with a code.

A round trip is bound three ways (threat E4): its state is known once, and to this hub only; the browser's cookie must
be the one it left with, and nonce and PKCE verifier are computed from both; it belongs to one version of one connector.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from mezite.core.attempt_budget import AttemptBudget
from mezite.core.audit.event_types import EventType
from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.authorization import CallbackError, RoundTripSecrets, authorization_url, single_value
from mezite.core.oidc.claim_mapping import ClaimsRefusedError, map_claims
from mezite.core.oidc.connector import ConnectorKind
from mezite.core.oidc.return_path import InvalidReturnPathError, checked_return_path
from mezite.core.secret import Secret, token_hash
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authentication.source_limit import SecretGuesses, SourceLimit
from mezite.services.errors import (
    InvalidRequestError,
    LockedError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.login.password_login import SESSION_MS, LoggedIn
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.services.sso.connectors import LOCAL, ConnectorCatalog
from mezite.services.sso.identity_providers import IdentityProviders
from mezite.services.sso.users import SignedInUser, SsoUserRefusedError, sign_in
from mezite.storage import sso_logins, users, web_sessions
from mezite.storage.database import Database
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.sso_logins import RoundTripRow
from mezite.storage.users import UserRow
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Begun", "CameBack", "SsoLogin"]

ROUND_TRIP_MS = 10 * 60 * 1000
"""To find one's password and second factor at the provider."""

MAX_UNDER_WAY = 20_000
"""Logins of the whole cluster that have not ended: some 10 MB of rows, and a Monday of a large company."""

MAX_EXCHANGES = 32
"""Calls to providers at a time; each takes a few hundred milliseconds, and 10 s at most."""

_STRANGE = "this sign-in was not begun in this browser, has been used already or is more than 10 minutes old"


@attrs.frozen(kw_only=True)
class Begun:
    """A round trip that begins."""

    url: str
    """Where the browser goes."""
    browser_secret: Secret
    """What its cookie holds until it comes back."""


@attrs.frozen(kw_only=True)
class CameBack:
    """Somebody has signed in, and the user is up to date."""

    signed_in: SignedInUser
    connector: str
    return_to: str
    client_login: str | None
    """The client login (its hash) that this was for."""


@attrs.define(eq=False, kw_only=True)
class SsoLogin:
    """Round trips of one hub."""

    database: Database
    audit: AuditLog
    sources: Sources
    catalog: ConnectorCatalog
    providers: IdentityProviders
    addresses: PublicAddresses
    refusals: RefusalLog
    authenticator: Authenticator
    _starts: SourceLimit = attrs.field(
        init=False,
        factory=lambda: SourceLimit(
            what="sign-ins begun",
            # An office behind one address on a Monday; then one in two seconds.
            budget=AttemptBudget(burst=200, interval=2.0),
        ),
    )
    _failures: SecretGuesses = attrs.field(init=False)
    _exchanges: trio.Semaphore = attrs.field(init=False, factory=lambda: trio.Semaphore(MAX_EXCHANGES))

    @_failures.default
    def _default_failures(self) -> SecretGuesses:
        return SecretGuesses("failed sign-ins", EventType.USER_LOGIN_FAILED, self.refusals)

    async def begin(
        self,
        name: str,
        *,
        return_to: str = "/",
        client_login: str | None = None,
        browser_secret: str | None = None,
        client_address: str,
    ) -> Begun:
        """Send a browser to the provider of connector `name`.

        `browser_secret` is what the browser's cookie holds from an earlier round trip: several may be under way.

        :raises InvalidRequestError: `return_to` is no path on this host (threat D19).
        :raises NotFoundError: there is no such connector.
        :raises UnavailableError: too many logins are under way, or the provider cannot be asked.
        """
        try:
            checked_return_path(return_to)
        except InvalidReturnPathError as error:
            raise InvalidRequestError(f"return_to is {error}") from None
        self.admit_start(client_address)
        known = await self.catalog.get(name)
        state, secret = self.sources.new_secret(), browser_secret or self.sources.new_secret()
        try:
            with self._exchange_slot():
                endpoint = await self.providers.authorization_endpoint(known)
            url = authorization_url(
                endpoint,
                known.connector,
                redirect_url=known.connector.redirect_url(self.addresses.web_url()),
                state=state,
                secrets=RoundTripSecrets.derive(secret, state),
            )
        except ProviderError as error:
            raise UnavailableError(f"connector {name} cannot be used now: {error}") from None
        now = self.sources.now()
        trip = RoundTripRow(
            token_hash=token_hash(state),
            browser_hash=token_hash(secret),
            connector=name,
            connector_version=known.updated_at,
            return_to=return_to,
            client_login=client_login,
            client_ip=client_address,
            created_at=now,
            expires_at=now + ROUND_TRIP_MS,
        )
        await self.database.write(_begin, trip)
        return Begun(url=url, browser_secret=Secret(secret))

    def admit_start(self, client_address: str) -> None:
        """:raises TooManyRequestsError: too many sign-ins were begun from this address."""
        self._starts.take(client_address)

    async def come_back(
        self,
        kind: ConnectorKind,
        parameters: Sequence[tuple[str, str]],
        *,
        browser_secret: str | None,
        client_address: str,
    ) -> CameBack:
        """Take what a browser brings back to the callback of connectors of that kind.

        :raises UnauthenticatedError: it is refused, and audited; the message says why.
        :raises UnavailableError: too many refusals from this address, or too many exchanges at a time.
        """
        self._failures.count(client_address)
        name = ""
        try:
            state = single_value(parameters, "state") or ""
            trip = await self._own_trip(state, browser_secret or "")
            name = trip.connector
            came_back = await self._exchange(kind, trip, parameters, state, browser_secret or "")
        except (ProviderError, ClaimsRefusedError, SsoUserRefusedError, NotFoundError) as error:
            event_id = await self._failures.was_wrong(
                client_address, error_message=str(error), method="sso", connector=name
            )
            raise UnauthenticatedError(f"you are not signed in: {error}", event_id=event_id) from None
        self._failures.was_right(client_address)
        await self._audit_user(came_back, client_address)
        return came_back

    async def _own_trip(self, state: str, browser_secret: str) -> RoundTripRow:
        """The round trip that this very browser is on; used up with that."""
        now = self.sources.now()
        found = await self.database.write(
            sso_logins.consume_round_trip, token_hash=token_hash(state), now=now
        )
        if isinstance(found, ConsumeFailure):
            raise CallbackError(f"{_STRANGE}: begin again")
        if not hmac.compare_digest(found.browser_hash, token_hash(browser_secret)):
            raise CallbackError(f"{_STRANGE}: begin again, in the browser that you want to use")
        return found

    async def _exchange(
        self,
        kind: ConnectorKind,
        trip: RoundTripRow,
        parameters: Iterable[tuple[str, str]],
        state: str,
        browser_secret: str,
    ) -> CameBack:
        known = await self.catalog.open(trip.connector)
        if known.updated_at != trip.connector_version or known.connector.kind is not kind:
            raise CallbackError(f"connector {trip.connector} was changed meanwhile: begin again")
        with self._exchange_slot():
            proven = await self.providers.redeem(
                known,
                parameters,
                RoundTripSecrets.derive(browser_secret, state),
                redirect_url=known.connector.redirect_url(self.addresses.web_url()),
            )
        mapped = map_claims(known.connector, proven.claims)
        signed_in = await self.database.write(
            sign_in, connector=trip.connector, proven=proven, mapped=mapped, now=self.sources.now()
        )
        return CameBack(
            signed_in=signed_in,
            connector=trip.connector,
            return_to=trip.return_to,
            client_login=trip.client_login,
        )

    @contextmanager
    def _exchange_slot(self) -> Iterator[None]:
        """Around talking to a provider. :raises UnavailableError: too many do already."""
        try:
            self._exchanges.acquire_nowait()
        except trio.WouldBlock:
            raise UnavailableError("too many sign-ins at this moment: try again", retry_after=5) from None
        try:
            yield
        finally:
            self._exchanges.release()

    async def start_session(
        self, user_name: str, kind: WebSessionKind, *, connector: str, client_address: str
    ) -> LoggedIn:
        """Start a session for a user who has just come back, for where `kind` says.

        :raises UnauthenticatedError: the user was deleted or disabled since.
        :raises LockedError: there is a lock on the user or a role of theirs; audited.
        """
        now = self.sources.now()
        token = self.sources.new_secret()
        session = WebSessionRow(
            token_hash=token_hash(token),
            user_name=user_name,
            kind=kind,
            created_at=now,
            expires_at=now + SESSION_MS,
            client_ip=client_address,
        )
        user = await self.database.write(_start_session, session)
        if user is None:
            raise UnauthenticatedError(f"user {user_name} was disabled meanwhile: ask an administrator")
        record = partial(
            self.audit.emit,
            user_name=user.name,
            user_roles=user.roles,
            client_ip=client_address,
            method="browser" if connector == LOCAL else "sso",
            connector=connector,
        )
        try:
            await self.authenticator.by_session(token, kind)
        except LockedError as locked:
            await self.database.write(web_sessions.revoke, token_hash=session.token_hash, now=now)
            event_id = await record(EventType.USER_LOGIN_FAILED, success=False, error_message=str(locked))
            raise LockedError(str(locked), event_id=event_id) from None
        await record(EventType.USER_LOGIN)
        return LoggedIn(token=Secret(token), user=user, expires_at=session.expires_at)

    async def _audit_user(self, came_back: CameBack, client_address: str) -> None:
        """Record what the login has changed about the user; with nothing changed, there is nothing to say."""
        signed_in = came_back.signed_in
        if not signed_in.changed:
            return
        await self.audit.emit(
            EventType.USER_CREATED if signed_in.created else EventType.USER_UPDATED,
            user_name=signed_in.user.name,
            resource_type="user",
            resource_name=signed_in.user.name,
            client_ip=client_address,
            roles=list(signed_in.user.roles),
            connector=came_back.connector,
        )


def _begin(conn: Connection, trip: RoundTripRow) -> None:
    make_room(conn, trip.created_at)
    sso_logins.insert_round_trip(conn, trip=trip)


def make_room(conn: Connection, now: int) -> None:
    """Forget logins that are over. :raises UnavailableError: there are too many that are not."""
    sso_logins.delete_stale(conn, before=now)
    if sso_logins.count_live(conn, now=now) >= MAX_UNDER_WAY:
        raise UnavailableError("too many sign-ins are under way: try again later", retry_after=60)


def _start_session(conn: Connection, session: WebSessionRow) -> UserRow | None:
    user = users.get(conn, name=session.user_name)
    if user is None or user.disabled_at is not None:
        return None
    web_sessions.insert(conn, session=session)
    return user
