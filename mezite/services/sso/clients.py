# SPDX-License-Identifier: Apache-2.0
"""`msh login --auth`: a program without a browser of its own lets somebody sign in for it.

The program proves at the end that it is the one that began, with a secret of which the hub has had the hash (as PKCE
does for a provider), and gets certificates for the keys that it named at the beginning and for no others.

With a browser on the same machine, the browser brings a one-time code to the program's loopback. Without one, a person
enters a short code on a page of the hub, anywhere, signs in there, and confirms what is shown: the program's address,
the code, and as whom it will act.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.oidc.return_path import is_loopback_callback
from mezite.core.secret import Secret, token_hash
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.source_limit import SecretGuesses
from mezite.services.errors import InvalidRequestError, NotFoundError, UnauthenticatedError
from mezite.services.login.certificates import MAX_TTL_S, IssuedToUser, UserCertificateService
from mezite.services.sso.connectors import LOCAL, ConnectorCatalog
from mezite.services.sso.login import ROUND_TRIP_MS, CameBack, SsoLogin, make_room
from mezite.storage import sso_logins, web_sessions
from mezite.storage.one_time import ConsumeFailure
from mezite.storage.sso_logins import ClientLoginRow
from mezite.storage.web_sessions import WebSessionKind

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "ClientLogin",
    "ClientQuestion",
    "ClientRequest",
    "SsoClients",
    "question_about",
    "readable_code",
]

CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""No vowels, so no words (RFC 8628 section 6.1); eight of twenty letters are 25 thousand million codes."""

CODE_LENGTH = 8

MAX_KEY = 16 * 1024


@attrs.frozen(kw_only=True)
class ClientRequest:
    """What a program asks for."""

    connector: str
    challenge: str
    """SHA-256 of its secret, 64 hex digits."""
    ssh_public_key: str
    tls_public_key_pem: str
    ttl_seconds: int = 0
    callback_url: str = ""
    """On its loopback; empty when it has no browser."""


@attrs.frozen(kw_only=True)
class ClientLogin:
    """A login that a program waits for."""

    handle: Secret
    """Names the login; finishing takes the program's secret besides."""
    user_code: str
    """For people to enter, `XXXX-XXXX`; empty with a callback."""
    expires_at: int


@attrs.frozen(kw_only=True)
class ClientQuestion:
    """What a person is asked before a program without a browser acts for them."""

    connector: str
    user_code: str
    client_address: str
    user_name: str = ""
    """As whom; empty before they have signed in."""
    token: str = ""
    """To be sent back with the answer."""


@attrs.define(eq=False, kw_only=True)
class SsoClients:
    """Logins of programs."""

    login: SsoLogin
    catalog: ConnectorCatalog
    authenticator: Authenticator
    certificates: UserCertificateService
    _guesses: SecretGuesses = attrs.field(init=False)

    @_guesses.default
    def _default_guesses(self) -> SecretGuesses:
        return SecretGuesses("wrong codes", EventType.USER_LOGIN_FAILED, self.login.refusals)

    async def begin(self, request: ClientRequest, *, client_address: str) -> ClientLogin:
        """Wait for somebody to sign in for the program.

        :raises InvalidRequestError: a challenge, a time to live or a callback that is none.
        :raises NotFoundError: there is no such connector. :raises UnavailableError: too many wait already.
        """
        _check(request)
        if request.connector != LOCAL:
            await self.catalog.get(request.connector)
        sources = self.login.sources
        handle, now = sources.new_secret(), sources.now()
        code = "" if request.callback_url else _new_code(sources.token_bytes(CODE_LENGTH * 2))
        row = ClientLoginRow(
            token_hash=token_hash(handle),
            user_code=code or None,
            client_ip=client_address,
            created_at=now,
            expires_at=now + ROUND_TRIP_MS,
            **attrs.asdict(request),
        )
        self.login.admit_start(client_address)
        await self.login.database.write(_begin, row)
        return ClientLogin(handle=Secret(handle), user_code=readable_code(code), expires_at=row.expires_at)

    async def connector_of(self, handle: str) -> tuple[str, str]:
        """The connector and the hash of the login called `handle`, which a browser wants to begin.

        :raises NotFoundError: there is no such login, or it is over.
        """
        row = await self._live(token_hash(handle))
        return row.connector, row.token_hash

    async def look_up(self, user_code: str, *, client_address: str) -> tuple[ClientQuestion, str]:
        """The login with that code, as entered by a person, and its hash.

        :raises NotFoundError: there is none. :raises TooManyRequestsError: too many wrong ones from this address.
        """
        row = await self.by_code(user_code, client_address=client_address)
        return question_about(row), row.token_hash

    async def by_code(self, user_code: str, *, client_address: str) -> ClientLoginRow:
        """The login with that code, which nobody has signed in for yet.

        :raises NotFoundError: and TooManyRequestsError as `look_up`.
        """
        self._guesses.count(client_address)
        code = "".join(letter for letter in user_code.upper() if letter.isalnum())
        now = self.login.sources.now()
        row = await self.login.database.read(sso_logins.get_client_by_code, user_code=code[:64], now=now)
        if row is None or row.user_name is not None:
            await self._guesses.was_wrong(client_address, error_message="unknown user code", method="sso")
            raise NotFoundError("there is no such code, or it is more than 10 minutes old: look at it again")
        self._guesses.was_right(client_address)
        return row

    async def by_handle(self, handle: str) -> ClientLoginRow:
        """The login called so. :raises NotFoundError: there is none, or it is over."""
        return await self._live(token_hash(handle))

    async def arrived(self, came_back: CameBack, browser_secret: str) -> str | ClientQuestion:
        """Somebody has signed in for a program: where the browser goes with a code, or what it has to ask first.

        :raises NotFoundError: the login is over. :raises UnauthenticatedError: somebody else was first.
        """
        row = await self._live(came_back.client_login or "")
        code = self.login.sources.new_secret()
        has_browser = bool(row.callback_url)
        proposed = await self.login.database.write(
            sso_logins.propose_user,
            token_hash=row.token_hash,
            user_name=came_back.signed_in.user.name,
            code_hash=token_hash(code) if has_browser else _confirmation_hash(code, browser_secret),
            approved=has_browser,
            now=self.login.sources.now(),
        )
        if not proposed:
            raise UnauthenticatedError("somebody has signed in for this program already: begin again")
        if has_browser:
            return f"{row.callback_url}?code={code}"
        return attrs.evolve(question_about(row), user_name=came_back.signed_in.user.name, token=code)

    async def decide(
        self, token: str, browser_secret: str, *, allowed: bool, client_address: str
    ) -> ClientQuestion:
        """A person has answered the question that this very browser was asked.

        :raises UnauthenticatedError: it was not, or has been answered already.
        """
        decide = sso_logins.approve_client if allowed else sso_logins.refuse_client
        hashed = _confirmation_hash(token, browser_secret)
        row = await self.login.database.write(decide, code_hash=hashed, now=self.login.sources.now())
        if row is None:
            raise UnauthenticatedError(
                "this was answered already, or is more than 10 minutes old: begin again"
            )
        if not allowed:
            await self.login.refusals.emit(
                EventType.USER_LOGIN_FAILED,
                client_ip=row.client_ip,
                user_name=row.user_name or "",
                error_message=f"refused by the person at {client_address}",
                method="sso",
                connector=row.connector,
            )
        return attrs.evolve(question_about(row), user_name=row.user_name or "")

    async def finish(
        self, handle: str, verifier: str, code: str, *, client_address: str
    ) -> IssuedToUser | None:
        """Certificates for the keys of the program; None while nobody has signed in yet.

        :raises UnauthenticatedError: not the program that began, not its code, refused by the person, or over.
        """
        row = await self._finishing(handle, verifier, client_address)
        if row.refused_at is not None:
            raise UnauthenticatedError("the person who was asked did not allow this sign-in")
        if row.approved_at is None:
            return None
        if row.callback_url and not hmac.compare_digest(row.code_hash or "", token_hash(code)):
            raise await self._wrong("the code is wrong", row, client_address)
        now = self.login.sources.now()
        used = await self.login.database.write(sso_logins.consume_client, token_hash=row.token_hash, now=now)
        if isinstance(used, ConsumeFailure) or used.user_name is None:
            raise await self._wrong("the sign-in was used already", row, client_address)
        self._guesses.was_right(client_address)
        return await self._issue(used, used.user_name, client_address)

    async def _finishing(self, handle: str, verifier: str, client_address: str) -> ClientLoginRow:
        self._guesses.count(client_address)
        row = await self._live(token_hash(handle))
        if not hmac.compare_digest(row.challenge, hashlib.sha256(verifier.encode()).hexdigest()):
            raise await self._wrong("not the program that began", row, client_address)
        if row.approved_at is None:
            # Asking again every few seconds is what programs without a browser do.
            self._guesses.was_right(client_address)
        return row

    async def _issue(self, row: ClientLoginRow, user_name: str, client_address: str) -> IssuedToUser:
        """By a session that lives for one call: whoever gets certificates is authenticated as everybody is."""
        started = await self.login.start_session(
            user_name, WebSessionKind.API, connector=row.connector, client_address=client_address
        )
        token = started.token.reveal()
        try:
            return await self.certificates.issue(
                await self.authenticator.by_session(token),
                ssh_public_key=row.ssh_public_key,
                tls_public_key_pem=row.tls_public_key_pem.encode(),
                ttl_seconds=row.ttl_seconds,
                client_address=client_address,
            )
        finally:
            now = self.login.sources.now()
            await self.login.database.write(web_sessions.revoke, token_hash=token_hash(token), now=now)

    async def _wrong(self, why: str, row: ClientLoginRow, client_address: str) -> UnauthenticatedError:
        event_id = await self._guesses.was_wrong(
            client_address, error_message=why, method="sso", connector=row.connector
        )
        return UnauthenticatedError(f"the sign-in cannot be finished: {why}; begin again", event_id=event_id)

    async def _live(self, hashed: str) -> ClientLoginRow:
        now = self.login.sources.now()
        row = await self.login.database.read(sso_logins.get_client, token_hash=hashed, now=now)
        if row is None:
            raise NotFoundError("this sign-in is over, or more than 10 minutes old: begin again")
        return row


def readable_code(code: str) -> str:
    """Return the code in two halves, as people read and write it."""
    return f"{code[:4]}-{code[4:]}" if code else ""


def question_about(row: ClientLoginRow) -> ClientQuestion:
    """Return what a person is asked about the program of that login."""
    return ClientQuestion(
        connector=row.connector,
        user_code=readable_code(row.user_code or ""),
        client_address=row.client_ip,
    )


def _new_code(entropy: bytes) -> str:
    number = int.from_bytes(entropy, "big")
    letters = []
    for _ in range(CODE_LENGTH):
        number, letter = divmod(number, len(CODE_LETTERS))
        letters.append(CODE_LETTERS[letter])
    return "".join(letters)


def _confirmation_hash(token: str, browser_secret: str) -> str:
    """What only the browser that was asked can answer with."""
    return token_hash(f"{token}:{browser_secret}")


def _begin(conn: Connection, row: ClientLoginRow) -> None:
    make_room(conn, row.created_at)
    sso_logins.insert_client(conn, login=row)


def _check(request: ClientRequest) -> None:
    if len(request.challenge) != 64 or not set(request.challenge) <= set("0123456789abcdef"):
        raise InvalidRequestError("challenge is not a SHA-256 in hex")
    if request.callback_url and not is_loopback_callback(request.callback_url):
        raise InvalidRequestError("callback_url is not http://127.0.0.1:PORT/ with a random path")
    if not 0 <= request.ttl_seconds <= MAX_TTL_S:
        raise InvalidRequestError("the time to live of a certificate is at least 1m and at most 24h")
    if not 0 < len(request.ssh_public_key) <= MAX_KEY or not 0 < len(request.tls_public_key_pem) <= MAX_KEY:
        raise InvalidRequestError("a public key is missing or too long")
