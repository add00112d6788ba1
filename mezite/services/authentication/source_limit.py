# SPDX-License-Identifier: Apache-2.0
"""How often one client address may try something (threats A11, D14): a login-like door, whatever leads to it."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import trio

from mezite.core.attempt_budget import AttemptBudget
from mezite.core.audit.event_types import EventType
from mezite.core.client_address import source_of
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.errors import TooManyRequestsError

__all__ = ["SecretGuesses", "SourceLimit", "anonymous_calls"]


@attrs.define(eq=False, kw_only=True)
class SourceLimit:
    """One kind of attempt, counted by source: an IPv4 address or an IPv6 /64."""

    what: str
    """In the plural, for the person who is told."""
    budget: AttemptBudget
    clock: Callable[[], float] = trio.current_time

    def take(self, client_address: str) -> None:
        """Count an attempt.

        :raises TooManyRequestsError: there were too many; nothing was counted.
        """
        wait = self.budget.take(source_of(client_address), self.clock())
        if wait > 0:
            seconds = math.ceil(wait)
            raise TooManyRequestsError(
                f"too many {self.what} from this address: try again in {seconds} s", retry_after=seconds
            )

    def give_back(self, client_address: str) -> None:
        """The attempt was an honest one: it does not count."""
        self.budget.give_back(source_of(client_address), self.clock())


class SecretGuesses:
    """Passwords, invites or join tokens from strangers: few wrong ones, and few of them audited one by one."""

    def __init__(self, what: str, event_type: EventType, refusals: RefusalLog) -> None:
        """`what` is told to people, in the plural; `event_type` is what a refusal is."""
        self._limit = wrong_secrets(what)
        self._event_type = event_type
        self._refusals = refusals

    def count(self, client_address: str) -> None:
        """What this client sends now counts as wrong until it proves right.

        :raises TooManyRequestsError: it has sent too many wrong ones; the audit log will say how many more.
        """
        try:
            self._limit.take(client_address)
        except TooManyRequestsError:
            self._refusals.count(self._event_type, client_ip=client_address)
            raise

    def was_right(self, client_address: str) -> None:
        """It proved right."""
        self._limit.give_back(client_address)

    async def was_wrong(self, client_address: str, **fields: object) -> str:
        """Audit the refusal; return the event's id, empty when it was only counted.

        :raises AuditUnavailableError: as from the audit log.
        """
        return await self._refusals.emit(self._event_type, client_ip=client_address, **fields)


def wrong_secrets(what: str) -> SourceLimit:
    """Return the limit for passwords, invites and join tokens; right ones are given back.

    Thirty at once, for an office behind one address on a Monday, or for a fleet whose image holds an old token. Then
    one in six seconds: 14,400 a day, which is what a guesser with one address gets over all names together. A single
    name is locked long before.
    """
    return SourceLimit(what=what, budget=AttemptBudget(burst=30, interval=6.0))


def anonymous_calls() -> SourceLimit:
    """Return the limit for RPCs that need no credential.

    Each costs the hub about a millisecond, so fifty a second from one source are a twentieth of a core. Two hundred at
    once let a rack that is switched on fetch the CA bundle and join without waiting.
    """
    return SourceLimit(what="calls without a credential", budget=AttemptBudget(burst=200, interval=0.02))
