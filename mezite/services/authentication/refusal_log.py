# SPDX-License-Identifier: Apache-2.0
"""Refusals of strangers, audited without letting strangers fill the audit log.

Anybody can send wrong passwords, made-up tokens and forged headers as fast as the network carries them. The first of
each source are recorded one by one; the rest are counted, and at the end of the window one event for each source says
how many there were. Nothing is lost but the detail: the number of refusals is the sum over the events (threat H7).
"""

from __future__ import annotations

from collections import Counter
from typing import NoReturn

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.client_address import source_of
from mezite.core.durations import format_duration
from mezite.services.audit_log import AuditLog, AuditUnavailableError

__all__ = ["RefusalLog"]

WINDOW_SECONDS = 600
"""Ten minutes: an attack shows in the log while it goes on."""

PER_SOURCE = 20
"""A person who forgot a password, or a script with an old one, is recorded in full."""

IN_ALL = 500
"""In one window. With the summaries at most 80,000 events a day, some 50 MB, whatever strangers do."""

SUMMARIES = 50
"""Sources that have a summary of their own; those beyond share one without an address."""


@attrs.frozen
class _Group:
    event_type: EventType
    source: str
    """Empty for all sources that have no group of their own."""


@attrs.define(eq=False)
class RefusalLog:
    """Writes refusals to an audit log."""

    audit: AuditLog
    _recorded: Counter[str] = attrs.field(factory=Counter, init=False)
    _counted: dict[_Group, int] = attrs.field(factory=dict, init=False)
    _addresses: dict[_Group, str] = attrs.field(factory=dict, init=False)

    async def emit(self, event_type: EventType, *, client_ip: str, **fields: object) -> str:
        """Record a refusal and return the event's id; empty when it is only counted.

        :raises AuditUnavailableError: as from the audit log.
        """
        source = source_of(client_ip)
        if self._recorded[source] >= PER_SOURCE or self._recorded.total() >= IN_ALL:
            self.count(event_type, client_ip=client_ip)
            await trio.lowlevel.checkpoint()
            return ""
        self._recorded[source] += 1
        return await self.audit.emit(event_type, client_ip=client_ip, success=False, **fields)

    def count(self, event_type: EventType, *, client_ip: str) -> None:
        """Count a refusal that is not worth an event of its own."""
        group = _Group(event_type, source_of(client_ip))
        if group not in self._counted and len(self._counted) >= SUMMARIES:
            group = _Group(event_type, "")
        self._counted[group] = self._counted.get(group, 0) + 1
        self._addresses[group] = client_ip if group.source else ""

    async def run(self) -> NoReturn:
        """Summarise at the end of each window, for ever."""
        while True:
            await trio.sleep(WINDOW_SECONDS)
            try:
                await self.summarise()
            except AuditUnavailableError:
                continue  # The counts are kept for the next window; the audit log says itself what is wrong.

    async def summarise(self) -> None:
        """End the window: write what was only counted, one event for each group.

        :raises AuditUnavailableError: as from the audit log; what was not written stays counted.
        """
        self._recorded.clear()
        for group in list(self._counted):
            number = self._counted.pop(group)
            address = self._addresses.pop(group)
            try:
                await self._summary(group.event_type, address, number)
            except AuditUnavailableError:
                self._counted[group] = self._counted.get(group, 0) + number
                self._addresses[group] = address
                raise

    async def _summary(self, event_type: EventType, address: str, number: int) -> None:
        whose = "this address" if address else "other addresses"
        await self.audit.emit(
            event_type,
            client_ip=address,
            success=False,
            error_message=(
                f"{number} more refusals of {whose} within {format_duration(WINDOW_SECONDS)}, "
                "not recorded one by one"
            ),
            repeated=number,
        )
