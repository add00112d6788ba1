# SPDX-License-Identifier: Apache-2.0
"""Replacing signing keys: steps that administrators ask for, and steps that are due by themselves (threat F5).

What is allowed when is decided in `core/rotation`; here it is read, recorded and stored. Each step is one transaction:
a hub that is killed in the middle of one leaves the state before it or the state after it, and whichever hub looks next
goes on from there. Two hubs that take one step at once both record it, with the same keys, and one of them does it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from mezite.core import rotation
from mezite.core.audit.event_types import EventType
from mezite.core.rotation import (
    AuthorityState,
    KeySet,
    RotationRefusedError,
    Step,
    Transition,
)
from mezite.core.trust_readiness import Readiness, Trustee, assess
from mezite.services.audit_log import AuditLog
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.cluster_trust import last_words
from mezite.services.authorities.key_ring import KeyRing
from mezite.services.authorities.keys import POLICIES, Purpose
from mezite.services.errors import ConflictError
from mezite.services.sources import Sources
from mezite.storage import certificate_authorities as rows
from mezite.storage import trust
from mezite.storage.certificate_authorities import CertificateAuthorityRow, StateChange
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError, StaleStateError
from mezite.storage.trust import AgentTrust, ContinuationRow, HubTrust

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["AuthorityRotation", "PurposeStatus"]

_log = logging.getLogger("mezite.hub")

NOTE_MS: Final = 15_000
"""How often a hub says that it is alive and which keys it has; see HUB_GONE_MS in core/trust_readiness."""

FORGET_HUB_MS: Final = 24 * 3_600_000

HUB_ONLINE_MS: Final = 2 * NOTE_MS + 5_000

_Decide = Callable[[KeySet, str, int], Transition]


@attrs.frozen(kw_only=True)
class PurposeStatus:
    """Where the rotation of one purpose is."""

    purpose: Purpose
    keys: KeySet
    readiness: Readiness
    """About the next key; without one, about a key that would be published now."""


@attrs.frozen
class _Trustees:
    agents: tuple[Trustee, ...]
    hubs: tuple[Trustee, ...]


class AuthorityRotation:
    """The rotations of one cluster, from one of its hubs."""

    def __init__(
        self,
        *,
        database: Database,
        authorities: CertificateAuthorities,
        audit: AuditLog,
        sources: Sources,
        hub_id: str,
    ) -> None:
        self._database = database
        self._authorities = authorities
        self._audit = audit
        self._sources = sources
        self._hub_id = hub_id
        self._noted: tuple[KeyRing | None, int] = (None, 0)
        self._woken = trio.Event()

    # ---- what administrators ask for

    async def status(self, purposes: Collection[Purpose]) -> list[PurposeStatus]:
        """Say where the rotations are. Nothing is changed."""
        await self._authorities.reload()
        trustees = await self._trustees()
        return [self._status(purpose, trustees) for purpose in purposes]

    async def begin(self, purpose: Purpose, *, by: str, client_address: str) -> Step:
        """Publish a new key, which becomes active by itself when everybody is ready.

        :raises ConflictError: a rotation is under way, or another hub was faster.
        """
        policy = POLICIES[purpose]
        decide = lambda keys, fresh, now: rotation.begin(keys, policy, fresh, now)  # noqa: E731
        return await self._step(purpose, decide, by=by, client_address=client_address)

    async def force(self, purpose: Purpose, *, by: str, client_address: str) -> Step:
        """Take the next step now, whoever is not ready: publish, activate, or stop trusting what was before.

        :raises ConflictError: there is no step, or another hub was faster.
        """
        policy = POLICIES[purpose]
        decide = lambda keys, fresh, now: rotation.forced(keys, policy, fresh, now)  # noqa: E731
        return await self._step(purpose, decide, by=by, client_address=client_address, forced=True)

    async def roll_back(self, purpose: Purpose, *, by: str, client_address: str) -> Step:
        """Undo the latest step. :raises ConflictError: there is none to undo, or another hub was faster."""
        policy = POLICIES[purpose]
        decide = lambda keys, _fresh, now: rotation.roll_back(keys, policy, now)  # noqa: E731
        return await self._step(purpose, decide, by=by, client_address=client_address)

    # ---- what is due by itself

    async def note_hub(self) -> None:
        """Say that this hub is alive and works with the keys that it has. Its listeners must trust them already."""
        ring, now = self._authorities.ring, self._sources.now()
        noted, at = self._noted
        if ring is noted and 0 <= now - at < NOTE_MS:
            return

        def note(conn: Connection) -> None:
            trust.note_hub(conn, hub_id=self._hub_id, key_ids=ring.key_ids, now=now)
            trust.forget_hubs(conn, before=now - FORGET_HUB_MS)

        await self._database.write(note)
        self._noted = (ring, now)

    async def advance(self) -> list[Step]:
        """Take every step that is due: activate what everybody trusts, drop what nothing valid hangs on."""
        taken: list[Step] = []
        trustees: _Trustees | None = None
        for purpose in Purpose:
            keys = self._authorities.ring.facts(purpose)
            is_ready = False
            if rotation.wants_activation(keys, POLICIES[purpose], self._sources.now()):
                trustees = trustees or await self._trustees()
                is_ready = self._status(purpose, trustees).readiness.is_ready
            decide = _due(purpose, keys, self._sources.now(), is_ready=is_ready)
            if decide is None:
                continue
            try:
                taken.append(await self._step(purpose, decide))
            except ConflictError as error:
                _log.info("another hub has taken the step", extra={"reason": str(error)})
        return taken

    async def wait_woken(self) -> None:
        """Until a step was taken on this hub, whose consequences should not wait."""
        await self._woken.wait()
        self._woken = trio.Event()

    # ---- one step

    async def _step(
        self,
        purpose: Purpose,
        decide: _Decide,
        *,
        by: str = "",
        client_address: str = "",
        forced: bool = False,
    ) -> Step:
        await self._authorities.reload()
        ring, now = self._authorities.ring, self._sources.now()
        fresh = self._authorities.store.fresh(purpose, state=AuthorityState.NEXT)
        fresh_id = self._authorities.store.open(fresh).key_id
        try:
            transition = decide(ring.facts(purpose), fresh_id, now)
        except RotationRefusedError as refused:
            raise ConflictError(f"{purpose.value}: {refused}") from None
        waiting: tuple[str, ...] = ()
        if forced and transition.step is Step.ACTIVATED:
            readiness = self._status(purpose, await self._trustees()).readiness
            waiting = tuple(one.name for one in readiness.agents_waiting)
        await self._audit.emit(
            EventType.CA_ROTATED,
            user_name=by or None,
            resource_type="authority",
            resource_name=purpose.value,
            client_ip=client_address,
            step=transition.step.value,
            key_ids=list(transition.key_ids),
            former_key_id=transition.former_key_id,
            forced=forced,
            agents_not_ready=list(waiting)[:100],
        )
        said: list[ContinuationRow] = []
        if transition.step is Step.DROPPED and purpose is Purpose.HOST_TLS:
            said = last_words(self._authorities.cluster, ring, transition.key_ids, now)
        store = partial(_store, changes=_changes(ring, purpose, transition, now), said=said, now=now)
        try:
            await self._database.write(
                store, fresh=fresh if transition.step is Step.PUBLISHED else None, after=transition.after
            )
        except (StaleStateError, AlreadyExistsError):
            raise ConflictError(
                f"{purpose.value}: another hub has taken a step at the same moment: look again"
            ) from None
        _log.warning("signing keys changed", extra={"purpose": purpose.value, "step": transition.step.value})
        await self._authorities.reload()
        self._woken.set()
        return transition.step

    def _status(self, purpose: Purpose, trustees: _Trustees) -> PurposeStatus:
        keys = self._authorities.ring.facts(purpose)
        readiness = assess(
            keys.upcoming,
            POLICIES[purpose],
            agents=trustees.agents,
            hubs=trustees.hubs,
            now=self._sources.now(),
        )
        return PurposeStatus(purpose=purpose, keys=keys, readiness=readiness)

    async def _trustees(self) -> _Trustees:
        now = self._sources.now()
        agents, hubs = await self._database.read(_read_trustees)
        return _Trustees(
            agents=tuple(
                Trustee(
                    name=one.node_name,
                    key_ids=frozenset(one.key_ids),
                    online=one.lease_until is not None and now < one.lease_until,
                    last_seen=one.last_seen,
                )
                for one in agents
            ),
            hubs=tuple(
                Trustee(
                    name=one.hub_id,
                    key_ids=frozenset(one.key_ids),
                    online=now < one.seen_at + HUB_ONLINE_MS,
                    last_seen=one.seen_at,
                )
                for one in hubs
            ),
        )


def _due(purpose: Purpose, keys: KeySet, now: int, *, is_ready: bool) -> _Decide | None:
    """How to decide on the step that is due, or None; decided again on what is stored then."""
    policy = POLICIES[purpose]
    if rotation.wants_key(keys, policy):
        return lambda keys, fresh, now: rotation.publish(keys, fresh, now, requested=False)
    if rotation.automatic(keys, policy, now, is_ready=is_ready) is None:
        return None

    def decide(keys: KeySet, _fresh: str, now: int) -> Transition:
        transition = rotation.automatic(keys, policy, now, is_ready=is_ready)
        if transition is None:
            raise RotationRefusedError("nothing is due any more")
        return transition

    return decide


def _changes(ring: KeyRing, purpose: Purpose, transition: Transition, now: int) -> list[StateChange]:
    """What is different in `transition.after`, of the keys that are stored."""
    after = {key.key_id: key for key in transition.after.keys}
    changes: list[StateChange] = []
    for authority in ring.trusted(purpose):
        becomes = after.get(authority.key_id)
        if becomes == authority.facts:
            continue
        row = authority.row
        asked = now if row.requested_at is None else row.requested_at
        changes.append(
            StateChange(
                authority_id=row.id,
                was=row.state,
                becomes=None if becomes is None else becomes.state,
                requested_at=asked if becomes is not None and becomes.requested else None,
                retired_at=None if becomes is None else becomes.retired_at,
            )
        )
    return changes


def _store(
    conn: Connection,
    *,
    changes: list[StateChange],
    said: list[ContinuationRow],
    now: int,
    fresh: CertificateAuthorityRow | None,
    after: KeySet,
) -> None:
    rows.change(conn, changes=changes, now=now)
    if fresh is not None:
        asked = after.upcoming is not None and after.upcoming.requested
        rows.insert(conn, row=attrs.evolve(fresh, created_at=now, requested_at=now if asked else None))
    for row in said:
        trust.add_continuation(conn, row=row)


def _read_trustees(conn: Connection) -> tuple[list[AgentTrust], list[HubTrust]]:
    return trust.agents_and_trust(conn), trust.hubs_and_trust(conn)
