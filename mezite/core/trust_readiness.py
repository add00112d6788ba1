# SPDX-License-Identifier: Apache-2.0
"""Whether a new signing key may be used: who trusts it already, and who does not yet (threat F5)."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from mezite.core.rotation import KeyFacts, Policy
from mezite.core.timestamps import format_seconds

__all__ = ["Lagging", "Readiness", "Trustee", "assess"]

LONGEST_IDENTITY_MS = 24 * 3_600_000 + 300_000
"""An agent that was last seen longer ago holds no valid certificate any more, and has to join again whatever its trust:
certificates last 24 hours from a moment at which it was seen; five minutes for its clock (threat F6)."""

HUB_GONE_MS = 90_000
"""A hub says every 15 s which keys it has. One that has missed six times is down, and reads all keys when it starts."""

MOST_NAMED = 10
"""Names in a sentence; the rest is a number there and complete in the list."""


@attrs.frozen(kw_only=True)
class Trustee:
    """An agent or a hub, and what it has said that it trusts."""

    name: str
    key_ids: frozenset[str]
    online: bool
    last_seen: int


@attrs.frozen(kw_only=True)
class Lagging:
    """An agent or a hub that has not seen a key."""

    name: str
    online: bool
    last_seen: int
    until: int
    """From then on it does not count any more: it could not come back with what it holds."""


@attrs.frozen(kw_only=True)
class Readiness:
    """Who has seen a key, and who has not."""

    now: int
    agents: int
    agents_waiting: tuple[Lagging, ...]
    hubs: int
    hubs_waiting: tuple[Lagging, ...]
    not_before: int
    """When those who do not say what they trust have had time to learn of the key."""

    @property
    def is_ready(self) -> bool:
        """Whether nobody would be locked out."""
        return not self.agents_waiting and not self.hubs_waiting and self.now >= self.not_before

    @property
    def latest(self) -> int:
        """When it is ready even if nobody who is offline comes back, those who are online having answered."""
        offline = [one.until for one in (*self.agents_waiting, *self.hubs_waiting) if not one.online]
        return max([self.now, self.not_before, *offline])

    def sentences(self) -> list[str]:
        """Say it for people."""
        said = [_sentence("agent", self.agents, self.agents_waiting)] if self.agents else []
        said.append(_sentence("hub", self.hubs, self.hubs_waiting))
        if self.now < self.not_before:
            until = format_seconds(self.not_before // 1000)
            said.append(f"clients that learned of the keys before may be in use until {until}")
        return said


def _sentence(kind: str, total: int, waiting: tuple[Lagging, ...]) -> str:
    ready = total - len(waiting)
    plural, have = "" if total == 1 else "s", "has" if 1 in (ready, total) else "have"
    said = f"{ready} of {total} {kind}{plural} {have} seen the new key"
    if not waiting:
        return said
    names = [f"{one.name} ({_where(one)})" for one in waiting[:MOST_NAMED]]
    if len(waiting) > MOST_NAMED:
        names.append(f"and {len(waiting) - MOST_NAMED} more")
    lead = "this one has not" if len(waiting) == 1 else f"these {len(waiting)} have not"
    return f"{said}; {lead}: {', '.join(names)}"


def _where(one: Lagging) -> str:
    return "online" if one.online else f"offline since {format_seconds(one.last_seen // 1000)}"


def assess(
    key: KeyFacts | None,
    policy: Policy,
    *,
    agents: Iterable[Trustee],
    hubs: Iterable[Trustee],
    now: int,
) -> Readiness:
    """Say who has not seen `key`; None: a key that is about to be published, which whoever is online will see."""
    counted = list(_counted(agents, LONGEST_IDENTITY_MS, now)) if policy.agents_trust else []
    alive = list(_counted(hubs, HUB_GONE_MS, now))
    published = now if key is None else key.created_at
    return Readiness(
        now=now,
        agents=len(counted),
        agents_waiting=_waiting(counted, key, LONGEST_IDENTITY_MS),
        hubs=len(alive),
        hubs_waiting=_waiting(alive, key, HUB_GONE_MS),
        not_before=published + policy.lead_ms,
    )


def _counted(trustees: Iterable[Trustee], gone_after: int, now: int) -> Iterable[Trustee]:
    return (one for one in trustees if one.online or now < one.last_seen + gone_after)


def _waiting(trustees: Iterable[Trustee], key: KeyFacts | None, gone_after: int) -> tuple[Lagging, ...]:
    def has_seen(one: Trustee) -> bool:
        return one.online if key is None else key.key_id in one.key_ids

    return tuple(
        Lagging(name=one.name, online=one.online, last_seen=one.last_seen, until=one.last_seen + gone_after)
        for one in sorted(trustees, key=lambda one: one.name)
        if not has_seen(one)
    )
