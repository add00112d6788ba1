# SPDX-License-Identifier: Apache-2.0
"""Locks: what nobody may do for now, whatever their roles allow (threats E14, F8).

A lock is on one thing: a user, a role, a node, a login, an agent or a certificate. Deciding is looking up what a
request is about; when locks begin and end is for others to know: a ``LockSet`` holds those that are in force.
"""

import enum
from collections.abc import Iterable

import attrs

__all__ = ["NO_LOCKS", "Lock", "LockSet", "LockTarget", "Subject"]


class LockTarget(enum.StrEnum):
    """What a lock is on."""

    USER = "user"
    """Everything of one person."""
    ROLE = "role"
    """Everybody who has the role."""
    NODE = "node"
    """Connections to a node; its agent stays connected."""
    LOGIN = "login"
    """An account name, on every node."""
    AGENT = "agent"
    """An agent by its id: its tunnel, and with it the node."""
    SERIAL = "serial"
    """One pair of certificates."""


Subject = tuple[LockTarget, str]
"""Something a request is about."""


@attrs.frozen(kw_only=True)
class Lock:
    """One lock that is in force."""

    id: str
    target: LockTarget
    name: str
    """The user's name, the agent's id, the serial in decimal ..."""
    message: str
    """Why, for those who are locked out."""

    @property
    def subject(self) -> Subject:
        """What it is on."""
        return self.target, self.name

    @property
    def reason(self) -> str:
        """One line for whoever is refused. The id comes early: what follows may be cut where space is short."""
        return f"{self.target.value} {self.name} is locked (lock {self.id}): {self.message}"


class LockSet:
    """Locks that are in force at one time; it does not change."""

    def __init__(self, locks: Iterable[Lock] = ()) -> None:
        self._locks: dict[Subject, Lock] = {}
        for lock in locks:
            # The first of several on the same thing speaks: callers give the oldest first.
            self._locks.setdefault(lock.subject, lock)

    def __len__(self) -> int:
        """On how many things there is a lock."""
        return len(self._locks)

    def find(self, subjects: Iterable[Subject]) -> Lock | None:
        """The lock on the first of ``subjects`` that has one, or None."""
        if not self._locks:
            return None
        return next((lock for subject in subjects if (lock := self._locks.get(subject))), None)

    def locked_names(self, target: LockTarget) -> frozenset[str]:
        """Everything of this kind that has a lock."""
        return frozenset(name for kind, name in self._locks if kind is target)


NO_LOCKS = LockSet()
