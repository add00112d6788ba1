# SPDX-License-Identifier: Apache-2.0
"""Passwords and second factors in, sessions out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.client_address import source_of
from mezite.core.durations import format_duration
from mezite.core.secret import Secret, token_hash
from mezite.net.fair_turns import FairTurns, TooManyWaitingError
from mezite.services.access.authorization import user_subjects
from mezite.services.access.lock_feed import LockFeed
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authentication.source_limit import SecretGuesses
from mezite.services.errors import LockedError, MfaRequiredError, UnavailableError
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.attempts import LOCK_MS, MAX_ATTEMPTS, count_attempt
from mezite.services.login.codes import NO_CODE, FactorCodes, FactorRefusedError, FactorShown, ShownCode
from mezite.services.login.password_rules import MAX_PASSWORD, check_password_strength
from mezite.services.sources import Sources
from mezite.storage import factors, invites, mfa_challenges, session_proofs, users, web_sessions
from mezite.storage.database import Database
from mezite.storage.invites import InviteRow
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.password_hasher import PasswordHasher
from mezite.storage.users import LoginAttempt, UserRow
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "LoggedIn",
    "LoginRefusedError",
    "LoginService",
]

SESSION_MS = 12 * 3600 * 1000
"""A working day, as the session cookie of the contract."""

BUSY_SECONDS = 5
"""What a full queue of logins takes, and a little more."""

WRONG_LOGIN = "wrong user name or password"
WRONG_LOGIN_OR_CODE = "wrong user name, password or code"
"""One text for all that may be wrong: that a name is locked would tell that it exists (threat E17)."""

_AND_THEN = f"(after {MAX_ATTEMPTS} failures a name is locked for {format_duration(LOCK_MS // 1000)})"


class LoginRefusedError(Exception):
    """The credentials were refused. `event_id` is the audit event; the text tells nothing about why."""

    def __init__(self, message: str, *, event_id: str) -> None:
        super().__init__(message)
        self.event_id = event_id


@attrs.frozen(kw_only=True)
class LoggedIn:
    """A fresh session."""

    token: Secret
    """256 bits; only its hash is stored (threat E11)."""
    user: UserRow
    expires_at: int
    """Milliseconds since 1970."""


class LoginService:
    """Local passwords and the sessions that follow from them."""

    def __init__(
        self,
        *,
        database: Database,
        passwords: PasswordHasher,
        codes: FactorCodes,
        audit: AuditLog,
        sources: Sources,
        refusals: RefusalLog | None = None,
        locks: LockFeed | None = None,
    ) -> None:
        """`refusals` is shared with whoever else turns strangers away. Without `locks` who is locked gets a session
        that is good for nothing.
        """
        self._locks = locks
        self._database = database
        self._passwords = passwords
        self._codes = codes
        self._audit = audit
        self._sources = sources
        self._turns = FairTurns()
        self._guesses = SecretGuesses(
            "wrong passwords and invites", EventType.USER_LOGIN_FAILED, refusals or RefusalLog(audit)
        )

    async def with_password(
        self,
        name: str,
        password: str,
        *,
        client_address: str,
        kind: WebSessionKind = WebSessionKind.API,
        shown: ShownCode = NO_CODE,
    ) -> LoggedIn:
        """Check a password, and a second factor of a user who has one; start a session for where `kind` says.

        :raises LoginRefusedError: wrong, unknown, disabled or locked out; audited.
        :raises MfaRequiredError: the password is right, and `shown` is empty although there is a second factor.
        :raises UnavailableError: too many are being checked already, from this client or in all, or this client has
            sent too many wrong ones.
        """
        text = WRONG_LOGIN_OR_CODE if shown else WRONG_LOGIN
        user, attempt = await self._checked(name, password, client_address, text)
        kinds = await self._codes.kinds(user.name)
        factor = None
        if kinds:
            if not shown:
                raise await self._needs_factor(user, kinds, client_address)
            factor = await self._codes.check(user.name, shown)
            if factor is None:
                raise await self._refused(name, attempt, client_address, text, why="wrong code")
        self._guesses.was_right(client_address)
        return await self.start(user, factor, client_address=client_address, kind=kind)

    async def start(
        self, user: UserRow, factor: FactorShown | None, *, client_address: str, kind: WebSessionKind
    ) -> LoggedIn:
        """Start a session for a user whose password was right, and who has shown `factor`.

        :raises LoginRefusedError: the user was deleted or disabled, got another password or a first second factor
            since.
        :raises LockedError: there is a lock on the user or a role of theirs; audited.
        """
        await self._check_locks(user, client_address)
        now = self._sources.now()
        token = self._sources.new_secret()
        session = WebSessionRow(
            token_hash=token_hash(token),
            user_name=user.name,
            kind=kind,
            created_at=now,
            expires_at=now + SESSION_MS,
            client_ip=client_address,
            factor_at=None if factor is None else now,
        )
        if not await self._database.write(_start_session, session, user.password_hash):
            raise await self._refused(user.name, None, client_address, WRONG_LOGIN)
        await self._audit.emit(
            EventType.USER_LOGIN,
            user_name=user.name,
            user_roles=user.roles,
            client_ip=client_address,
            method="local",
            factor="" if factor is None else factor.value,
        )
        return LoggedIn(token=Secret(token), user=user, expires_at=session.expires_at)

    async def _check_locks(self, user: UserRow, client_address: str) -> None:
        """Whoever has shown the password may hear of the lock (threats E6, E14)."""
        lock = self._locks and self._locks.current.find(user_subjects(user.name, user.roles))
        if lock:
            fields = {"user_name": user.name, "client_ip": client_address, "error_message": lock.reason}
            event_id = await self._audit.emit(
                EventType.USER_LOGIN_FAILED, **fields, success=False, method="local"
            )
            raise LockedError(lock.reason, event_id=event_id)

    async def check_password(self, name: str, password: str, *, client_address: str) -> UserRow:
        """Return the user whose password this is, without a session and without forgetting wrong attempts.

        :raises LoginRefusedError: as `with_password`. :raises UnavailableError: as `with_password`.
        """
        user, _attempt = await self._checked(name, password, client_address, WRONG_LOGIN)
        self._guesses.was_right(client_address)
        await self.give_back(user.name)
        return user

    async def check_factor(
        self, name: str, check: Callable[[], Awaitable[FactorShown | None]], *, client_address: str
    ) -> FactorShown:
        """Run `check` as one attempt of this user, like one with a password; right ones are not given back.

        For what is not good `check` returns None, or raises FactorRefusedError where it knows why.
        :raises LoginRefusedError: `check` found nothing good, or the name is locked. :raises TooManyRequestsError.
        """
        self._guesses.count(client_address)
        _user, attempt = await count_attempt(self._database, name, now=self._sources.now())
        factor, why = None, "wrong second factor"
        try:
            factor = await check() if attempt is not None and attempt.allowed else None
        except FactorRefusedError as refused:
            why = str(refused)
        if factor is None:
            raise await self._refused(name, attempt, client_address, WRONG_LOGIN_OR_CODE, why=why)
        self._guesses.was_right(client_address)
        return factor

    async def give_back(self, name: str) -> None:
        """Take back the attempt that proved right, and forget none of the wrong ones."""
        await self._database.write(users.give_back_login_attempt, name=name)

    async def _needs_factor(
        self, user: UserRow, kinds: tuple[factors.FactorKind, ...], client_address: str
    ) -> MfaRequiredError:
        """Who knows the password and not the factor neither gets in nor starts the count afresh."""
        self._guesses.was_right(client_address)
        await self.give_back(user.name)
        event_id = await self._guesses.was_wrong(
            client_address, user_name=user.name, error_message="a second factor is missing", method="local"
        )
        return MfaRequiredError([kind.value for kind in kinds], event_id=event_id)

    async def _checked(
        self, name: str, password: str, client_address: str, text: str
    ) -> tuple[UserRow, LoginAttempt | None]:
        """Return the user whose password this is, and the attempt that was counted for it.

        The attempt is counted before the password is looked at, so that guesses sent at once are counted one by
        one. Unknown names, disabled users and users without a password take as long as a wrong password (E17).

        :raises LoginRefusedError: wrong, unknown, disabled or locked out; audited.
        :raises UnavailableError: it was not looked at.
        """
        self._guesses.count(client_address)
        try:
            async with self._turns.turn(source_of(client_address)):
                user, attempt, matches = await self._check(name, password)
        except TooManyWaitingError:
            # Before anything is counted: an attempt that was not made must not lock the name.
            raise UnavailableError(
                f"too many logins are being checked: try again in {BUSY_SECONDS} s", retry_after=BUSY_SECONDS
            ) from None
        if user is None or not matches:
            raise await self._refused(name, attempt, client_address, text)
        return user, attempt

    async def _check(self, name: str, password: str) -> tuple[UserRow | None, LoginAttempt | None, bool]:
        user, attempt = await count_attempt(self._database, name, now=self._sources.now())
        usable = attempt is not None and attempt.allowed and len(password) <= MAX_PASSWORD
        stored = None if user is None or user.disabled_at is not None or not usable else user.password_hash
        return user, attempt, await self._passwords.verify(stored, password[:MAX_PASSWORD])

    async def _refused(
        self,
        name: str,
        attempt: LoginAttempt | None,
        client_address: str,
        text: str,
        *,
        why: str = WRONG_LOGIN,
    ) -> LoginRefusedError:
        now = self._sources.now()
        locked = attempt is not None and attempt.locked_until is not None and attempt.locked_until > now
        event_id = await self._guesses.was_wrong(
            client_address,
            user_name=name[:128],
            error_message="locked out" if locked else why,
            method="local",
        )
        if locked and attempt is not None and attempt.allowed:
            # This very attempt has locked the name: at most once in half an hour, so it is recorded whoever it was.
            await self._audit.emit(
                EventType.USER_LOCKED_OUT,
                user_name=name,
                client_ip=client_address,
                success=False,
                error_message=f"{attempt.attempts} failed logins",
                until_ms=attempt.locked_until,
            )
        return LoginRefusedError(f"{text} {_AND_THEN}", event_id=event_id)

    async def logout(self, identity: UserIdentity, *, client_address: str) -> bool:
        """End the session behind `identity`; False when it was not a session or has ended already."""
        if not identity.session_hash:
            return False
        now = self._sources.now()
        ended = await self._database.write(web_sessions.revoke, token_hash=identity.session_hash, now=now)
        if ended:
            await self._audit.emit(
                EventType.USER_LOGOUT,
                user_name=identity.name,
                user_roles=identity.roles,
                client_ip=client_address,
            )
        return ended

    async def change_password(
        self, identity: UserIdentity, *, old: str, new: str, client_address: str
    ) -> None:
        """Replace the caller's own password and end all other sessions of theirs. `PasswordChange` asks for a second
        factor first.

        :raises WeakPasswordError: the new one is too short.
        :raises LoginRefusedError: the old one is wrong.
        """
        check_password_strength(new)
        await self.check_password(identity.name, old, client_address=client_address)
        await self.set_password(identity.name, new, except_session=identity.session_hash)
        await self._audit_password(identity.name, client_address, method="local")

    async def set_password(self, name: str, password: str, *, except_session: str = "") -> bool:
        """Set a password and end all sessions but the one with that hash; False when there is no such user.

        :raises WeakPasswordError: too short.
        """
        hashed = await self._passwords.hash(check_password_strength(password))
        now = self._sources.now()

        def store(conn: Connection) -> bool:
            if not users.set_password(conn, name=name, password_hash=hashed, now=now):
                return False
            # An invite is for whoever has no password yet; a forgotten one must not set another later. A login
            # that has shown the old password and not yet its key ends too.
            invites.delete_of_user(conn, user_name=name)
            mfa_challenges.delete_of_user(conn, user_name=name)
            session_proofs.delete_of_user(conn, user_name=name)
            web_sessions.revoke_of_user(conn, user_name=name, now=now, keep=except_session)
            return True

        return await self._database.write(store)

    async def accept_invite(self, token: str, password: str, *, client_address: str) -> str:
        """Set the first password with an invite and return the user's name.

        The password is checked before the invite is used up, so that a short one does not cost the invite.

        :raises WeakPasswordError: too short.
        :raises LoginRefusedError: the invite is unknown, used or expired.
        :raises TooManyRequestsError: this client has sent too many of those.
        """
        check_password_strength(password)
        self._guesses.count(client_address)
        hashed = await self._invited_hash(token, password)
        now = self._sources.now()

        def use(conn: Connection) -> InviteRow | ConsumeFailure:
            invite = invites.consume(conn, token_hash=token_hash(token), now=now)
            if isinstance(invite, InviteRow):
                users.set_password(conn, name=invite.user_name, password_hash=hashed, now=now)
            return invite

        used = await self._database.write(use)
        if isinstance(used, InviteRow):
            self._guesses.was_right(client_address)
            await self._audit_password(used.user_name, client_address, method="invite")
            return used.user_name
        event_id = await self._guesses.was_wrong(
            client_address, error_message=f"invite: {used.value}", method="invite"
        )
        raise LoginRefusedError(f"the invite is {used.value}: ask for a new one", event_id=event_id)

    async def _audit_password(self, name: str, client_address: str, *, method: str) -> None:
        await self._audit.emit(
            EventType.USER_UPDATED,
            user_name=name,
            resource_type="user",
            resource_name=name,
            client_ip=client_address,
            method=method,
            password_changed=True,
        )

    async def _invited_hash(self, token: str, password: str) -> str | None:
        """Hash the password only for an invite that exists, so that nobody buys our CPU time with made-up ones."""
        known = await self._database.read(invites.get, token_hash=token_hash(token))
        return None if known is None else await self._passwords.hash(password)


def _start_session(conn: Connection, session: WebSessionRow, verified_hash: str | None) -> bool:
    """Insert the session unless the user was deleted, disabled or given another password since the check began.

    A change of the password ends all sessions: one that comes in a moment later must not survive it (threat E6). Nor
    may one without a second factor begin once there is one (threat E8).
    """
    # Written first: on PostgreSQL that waits for a change under way, and makes later ones wait for this.
    users.clear_failed_logins(conn, name=session.user_name)
    user = users.get(conn, name=session.user_name)
    if user is None or user.disabled_at is not None or user.password_hash != verified_hash:
        return False
    if session.factor_at is None and factors.kinds_of_user(conn, user_name=user.name):
        return False
    web_sessions.insert(conn, session=session)
    return True
