# SPDX-License-Identifier: Apache-2.0
"""Credentials that are not good are refused, and that is recorded: a forged one is somebody at work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.errors import LockedError, UnauthenticatedError

__all__ = ["CredentialRefusals"]

RECORD_SECONDS = 5
"""How long a refusal may take to be written while its connection is being cancelled."""


@attrs.frozen(kw_only=True)
class CredentialRefusals:
    """Records what an `Authenticator` refuses, at whatever door it was shown."""

    log: RefusalLog

    @asynccontextmanager
    async def recorded(self, client_address: str, door: str) -> AsyncIterator[None]:
        """Record a refusal that the block raises, put the event's id into it and let it go on.

        A refusal that is audited already is not audited twice. When the audit log cannot be written the refusal stands
        all the same: nothing was given away.
        """
        try:
            yield
        except (UnauthenticatedError, LockedError) as refused:
            if not refused.event_id:
                refused.event_id = await self.record(str(refused), client_address, door)
            raise

    async def record(self, reason: str, client_address: str, door: str) -> str:
        """Record one refusal, also while being cancelled; return the event's id, empty when it is only counted."""
        event_id = ""
        with trio.move_on_after(RECORD_SECONDS, shield=True), suppress(AuditUnavailableError):
            event_id = await self.log.emit(
                EventType.AUTHZ_DENIED,
                client_ip=client_address,
                resource_type="credential",
                error_message=reason[:512],
                verb="authenticate",
                door=door,
            )
        return event_id
