# SPDX-License-Identifier: Apache-2.0
"""How a signing key of the cluster is replaced while everybody goes on working (threat F5).

A new key is trusted before it signs, and an old one as long as anything it signed is valid:

    (none) --publish--> NEXT --activate--> ACTIVE --activate of another--> RETIRED --drop--> (gone)
             <-withdraw-           <-----------return-----------

Publishing, withdrawing, activating and returning lock nobody out: whoever trusts the set before a step trusts what
signs after it. Two rules make it so: no key becomes active before those who must trust it have said that they do, and
none is dropped before the last thing it signed has run out. Times are milliseconds since 1970, on the hubs' clock.
"""

from __future__ import annotations

import enum
from collections.abc import Collection

import attrs

__all__ = [
    "AuthorityState",
    "KeyFacts",
    "KeySet",
    "Policy",
    "RotationRefusedError",
    "Step",
    "Transition",
    "activate",
    "automatic",
    "begin",
    "drop",
    "forced",
    "overlap_ms",
    "publish",
    "roll_back",
    "trusted_until",
    "wants_activation",
    "wants_key",
]

MARGIN_MS = 900_000
"""Beyond the last expiry: five minutes for peers' clocks, and the seconds until the last hub stops using the key."""

UNDER_WAY = "a rotation is under way: see --status, go on with --force, or --rollback"

MOST_RETIRED = 4
"""Every join and every agent carries the whole set; four rotations within a day are a mistake, not an emergency."""


class AuthorityState(enum.StrEnum):
    """A signing key's place in its rotation."""

    ACTIVE = "active"
    """Signs, and is trusted. Exactly one for each purpose."""
    NEXT = "next"
    """Trusted ahead of its use, does not sign yet. At most one for each purpose."""
    RETIRED = "retired"
    """Signs nothing new; trusted until what it signed has expired."""


class Step(enum.StrEnum):
    """What happened to a purpose's keys; the value is what `ca.rotated` says."""

    PUBLISHED = "published"
    REQUESTED = "requested"
    """A key that was published long ago is to become active."""
    ACTIVATED = "activated"
    DROPPED = "dropped"
    WITHDRAWN = "withdrawn"
    """Rolled back before the new key had signed anything."""
    RETURNED = "returned"
    """Rolled back afterwards: the former key signs again, the new one stays trusted."""


class RotationRefusedError(Exception):
    """The step is not possible now; the text says why and what is."""


@attrs.frozen(kw_only=True)
class Policy:
    """What a purpose demands of a rotation."""

    signs_for_ms: int | None
    """The longest life of what the key signs; None for what has to be checked for ever."""
    lead_ms: int = 0
    """How long before its use a key has to be public, for those who trust it and do not say so."""
    agents_trust: bool = False
    """Whether agents check its signatures."""
    always_ahead: bool = False
    """Whether there is a next key at all times, for readers who cache."""
    rotates_every_ms: int | None = None
    """When a key that is published ahead becomes active without being asked for; None: never."""
    kept_ms: int = 0
    """How long a former key stays at least, whatever it signed."""


@attrs.frozen(kw_only=True)
class KeyFacts:
    """One key."""

    key_id: str
    state: AuthorityState
    created_at: int
    """From then on it is in what everybody is told to trust."""
    requested: bool = False
    """Whether it is to become active as soon as everybody is ready."""
    retired_at: int | None = None


@attrs.frozen
class KeySet:
    """The keys of one purpose. :raises ValueError: not exactly one is active, or more than one is next."""

    keys: tuple[KeyFacts, ...]

    def __attrs_post_init__(self) -> None:
        """Refuse what no step can lead to."""
        if len(self._in(AuthorityState.ACTIVE)) != 1 or len(self._in(AuthorityState.NEXT)) > 1:
            raise ValueError("a purpose has one active key, and at most one that is next")
        if any(key.retired_at is None for key in self._in(AuthorityState.RETIRED)):
            raise ValueError("a retired key says since when")

    @property
    def active(self) -> KeyFacts:
        """The one that signs."""
        return self._in(AuthorityState.ACTIVE)[0]

    @property
    def upcoming(self) -> KeyFacts | None:
        """The one that is trusted ahead of its use."""
        return next(iter(self._in(AuthorityState.NEXT)), None)

    @property
    def retired(self) -> tuple[KeyFacts, ...]:
        """Those that sign no more, the latest first."""
        return tuple(sorted(self._in(AuthorityState.RETIRED), key=_retired_at, reverse=True))

    def with_key(self, changed: KeyFacts) -> KeySet:
        """Put `changed` in place of the key with its id, or beside the others."""
        return KeySet((*(key for key in self.keys if key.key_id != changed.key_id), changed))

    def without(self, key_ids: Collection[str]) -> KeySet:
        """Leave keys out."""
        return KeySet(tuple(key for key in self.keys if key.key_id not in key_ids))

    def swapped(self, other: KeyFacts, now: int) -> KeySet:
        """Let `other` sign, and retire the one that does now."""
        former = attrs.evolve(self.active, state=AuthorityState.RETIRED, retired_at=now, requested=False)
        signer = attrs.evolve(other, state=AuthorityState.ACTIVE, retired_at=None, requested=False)
        kept = (key for key in self.keys if key.key_id not in {former.key_id, signer.key_id})
        return KeySet((*kept, former, signer))

    def _in(self, state: AuthorityState) -> list[KeyFacts]:
        return [key for key in self.keys if key.state is state]


def _retired_at(key: KeyFacts) -> tuple[int, str]:
    return key.retired_at or 0, key.key_id


@attrs.frozen(kw_only=True)
class Transition:
    """One step and what it leads to."""

    step: Step
    key_ids: tuple[str, ...]
    """What the step is about: the key that is new, signs, or goes; several may be dropped together."""
    former_key_id: str = ""
    """The key that signed until now, where that changes."""
    after: KeySet


def wants_key(keys: KeySet, policy: Policy) -> bool:
    """Whether a fresh key has to be published although nobody asked: the purpose is always one ahead."""
    return policy.always_ahead and keys.upcoming is None


def wants_activation(keys: KeySet, policy: Policy, now: int) -> bool:
    """Whether the next key is to become active as soon as everybody is ready: asked for, or its time has come.

    The next key is published when the active one begins to sign. So how long it has been public says how long the
    other one has signed, to every hub in the same way.
    """
    upcoming, every = keys.upcoming, policy.rotates_every_ms
    if upcoming is None:
        return False
    return upcoming.requested or (every is not None and now >= upcoming.created_at + every)


def publish(keys: KeySet, fresh_key_id: str, now: int, *, requested: bool) -> Transition:
    """Have everybody trust a fresh key. :raises RotationRefusedError: there is one that is next already."""
    if keys.upcoming is not None:
        raise RotationRefusedError(UNDER_WAY)
    fresh = KeyFacts(key_id=fresh_key_id, state=AuthorityState.NEXT, created_at=now, requested=requested)
    return Transition(step=Step.PUBLISHED, key_ids=(fresh_key_id,), after=keys.with_key(fresh))


def begin(keys: KeySet, policy: Policy, fresh_key_id: str, now: int) -> Transition:
    """Publish `fresh_key_id`; or, where a key has been published ahead, have that become active.

    :raises RotationRefusedError: a rotation is under way, or too many former keys are still trusted.
    """
    upcoming = keys.upcoming
    if upcoming is not None and upcoming.requested:
        raise RotationRefusedError(UNDER_WAY)
    if policy.signs_for_ms is not None and len(keys.retired) >= MOST_RETIRED:
        raise RotationRefusedError(
            f"{len(keys.retired)} former keys are still trusted: wait until they are dropped, see --status"
        )
    if upcoming is None:
        return publish(keys, fresh_key_id, now, requested=True)
    after = keys.with_key(attrs.evolve(upcoming, requested=True))
    return Transition(step=Step.REQUESTED, key_ids=(upcoming.key_id,), after=after)


def activate(keys: KeySet, now: int) -> Transition:
    """Let the next key sign from now on. Whether everybody is ready is the caller's to have asked.

    :raises RotationRefusedError: no key is next.
    """
    if keys.upcoming is None:
        raise RotationRefusedError("there is no next key: begin a rotation first")
    return Transition(
        step=Step.ACTIVATED,
        key_ids=(keys.upcoming.key_id,),
        former_key_id=keys.active.key_id,
        after=keys.swapped(keys.upcoming, now),
    )


def overlap_ms(policy: Policy) -> int | None:
    """How long a former key stays trusted; None: for ever."""
    if policy.signs_for_ms is None:
        return None
    return max(policy.signs_for_ms + MARGIN_MS, policy.kept_ms)


def trusted_until(key: KeyFacts, policy: Policy) -> int | None:
    """When a retired key may be dropped; None: never, or it is not retired."""
    overlap = overlap_ms(policy)
    return None if key.retired_at is None or overlap is None else key.retired_at + overlap


def drop(keys: KeySet, policy: Policy, now: int, *, force: bool = False) -> Transition:
    """Stop trusting the retired keys whose signatures have all run out; with `force` every retired key.

    :raises RotationRefusedError: there is none. Keys whose signatures are checked for ever are never dropped.
    """
    ends = {key.key_id: trusted_until(key, policy) for key in keys.retired}
    gone = tuple(key_id for key_id, end in ends.items() if end is not None and (force or now >= end))
    if not gone:
        raise RotationRefusedError("no former key can be dropped")
    return Transition(step=Step.DROPPED, key_ids=gone, after=keys.without(gone))


def roll_back(keys: KeySet, policy: Policy, now: int) -> Transition:
    """Undo the latest step of a rotation, which may be done at any time before the former key is dropped.

    :raises RotationRefusedError: no rotation is under way, and no older key is trusted any more.
    """
    upcoming = keys.upcoming
    if upcoming is not None and upcoming.requested:
        after = keys.without({upcoming.key_id})
        if policy.always_ahead:
            after = keys.with_key(attrs.evolve(upcoming, requested=False))
        return Transition(step=Step.WITHDRAWN, key_ids=(upcoming.key_id,), after=after)
    former = next(iter(keys.retired), None)
    # Only to an older key: rolling back twice is no way to go forward.
    if former is None or former.created_at >= keys.active.created_at:
        raise RotationRefusedError("there is nothing to roll back: no rotation is under way")
    return Transition(
        step=Step.RETURNED,
        key_ids=(former.key_id,),
        former_key_id=keys.active.key_id,
        after=keys.swapped(former, now),
    )


def automatic(keys: KeySet, policy: Policy, now: int, *, is_ready: bool) -> Transition | None:
    """Return the step that is due by itself, if there is one; `is_ready`: everybody trusts the next key."""
    if is_ready and wants_activation(keys, policy, now):
        return activate(keys, now)
    try:
        return drop(keys, policy, now)
    except RotationRefusedError:
        return None


def forced(keys: KeySet, policy: Policy, fresh_key_id: str, now: int) -> Transition:
    """Return the next step of a rotation, whoever is not ready for it: publish, activate, or drop.

    :raises RotationRefusedError: there is none.
    """
    if keys.upcoming is not None and keys.upcoming.requested:
        return activate(keys, now)
    if keys.retired and policy.signs_for_ms is not None:
        return drop(keys, policy, now, force=True)
    return begin(keys, policy, fresh_key_id, now)
