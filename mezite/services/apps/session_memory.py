# SPDX-License-Identifier: Apache-2.0
"""Who holds a session at an application, for half a second from memory: one page of an application is fifty requests.

What was taken away is noticed as soon as otherwise: a hub looks for it twice a second, and what began meanwhile is cut
then (`access_watch`). Locks and what an application is are asked about at each request all the same.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from mezite.core.secret import token_hash
from mezite.services.apps.sessions import AppSessions
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage.app_sessions import AppSessionRow

__all__ = ["AppSessionMemory"]

KEPT_SECONDS = 0.5
"""As often as a hub looks whether somebody may have less."""

MAX_KEPT = 10_000
"""Some 20 MB; as many browsers are busy in the same half second nowhere."""


@attrs.frozen
class _Known:
    until: float
    ended: int
    identity: UserIdentity
    session: AppSessionRow


@attrs.define(eq=False)
class _Look:
    """One that is under way."""

    until: float
    over: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False, kw_only=True)
class AppSessionMemory:
    """What one hub has looked up just now."""

    authenticator: Authenticator
    sessions: AppSessions
    sources: Sources
    clock: Callable[[], float] = trio.current_time
    _known: dict[tuple[str, str], _Known] = attrs.field(factory=dict, init=False)
    """By the hash of the secret and the host (threat D22); refusals are not kept."""
    _looks: dict[tuple[str, str], _Look] = attrs.field(factory=dict, init=False)

    async def find(self, token: str, host: str) -> tuple[UserIdentity, AppSessionRow]:
        """Return who holds this session at this host, and the session.

        :raises RefusedError: as `Authenticator.by_app_session`.
        """
        key, asked_at = (token_hash(token), host), self.clock()
        known = self._good(key, asked_at)
        look = self._looks.get(key)
        if known is None and look is not None and look.until > asked_at:
            # It has begun half a second ago at most: what it finds is as new as what is remembered.
            await look.over.wait()
            known = self._good(key, asked_at)
        if known is None:
            known = await self._look_up(key, token, host)
        return known.identity, known.session

    def _good(self, key: tuple[str, str], asked_at: float) -> _Known | None:
        """What is known and was good when it was asked for. One that was ended at this very hub is over at once."""
        known, now = self._known.get(key), self.sources.now()
        if known is None or known.until <= asked_at or known.ended != self.sessions.ended:
            return None
        return known if known.session.expires_at > now and known.identity.expires_at > now else None

    async def _look_up(self, key: tuple[str, str], token: str, host: str) -> _Known:
        self._known.pop(key, None)
        ended, until = self.sessions.ended, self.clock() + KEPT_SECONDS
        look = self._looks[key] = _Look(until)
        try:
            identity, session = await self.authenticator.by_app_session(token, host)
            if len(self._known) >= MAX_KEPT:
                self._known.clear()
            known = self._known[key] = _Known(until, ended, identity, session)
            return known
        finally:
            look.over.set()
            if self._looks.get(key) is look:
                del self._looks[key]
