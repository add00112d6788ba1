# SPDX-License-Identifier: Apache-2.0
"""Notifications about access requests, for a chat or a pager: signed, kept until they are delivered, tried again.

What is sent is in the database before it is sent, so that a restart loses nothing. A receiver may get one twice: it
tells by the id. What may be called is for the guarded client to see (threat G7).
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, NoReturn

import attrs
import trio

from mezite.core.audit.event_types import EventType
from mezite.core.oidc.provider_url import ProviderUrl
from mezite.core.secret import Secret
from mezite.core.timestamps import format_timestamp
from mezite.core.webhook_signature import signature_headers
from mezite.net.guarded_client import FetchError, GuardedClient
from mezite.services.sources import Sources
from mezite.storage import webhook_outbox
from mezite.storage.access_requests import AccessRequestRow
from mezite.storage.database import Database
from mezite.storage.errors import StorageError
from mezite.storage.webhook_outbox import DeliveryRow

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["Webhook", "Webhooks"]

_log = logging.getLogger("mezite.webhooks")

MAX_WAITING = 1000
"""Some megabytes, and more than a day's requests of a large cluster; beyond that the receiver is gone for good."""

WAITS_MS = tuple(1000 * seconds for seconds in (10, 30, 120, 600, 1800, 3600, 3600, 3600))
"""After each attempt: about four hours in all, for a receiver that is being repaired."""

LOOK_SECONDS = 5
"""How often what is due is looked for; what this hub adds it sends at once."""


@attrs.frozen(kw_only=True)
class Webhook:
    """Who is told what."""

    url: ProviderUrl
    secret: Secret
    events: Collection[str] = ()
    """`created`, `approved` ...; none means all."""
    allow_private: bool = False
    """Whether the URL may lead into private networks."""

    def wants(self, event: EventType) -> bool:
        """Whether this is told."""
        return not self.events or event.type_name.partition(".")[2] in self.events


class Webhooks:
    """The notifications of one cluster, sent by whichever hub takes them."""

    def __init__(self, *, database: Database, sources: Sources, cluster: str, webhook: Webhook) -> None:
        self._database = database
        self._sources = sources
        self._cluster = cluster
        self._webhook = webhook
        self._client = GuardedClient(allow_private=webhook.allow_private, max_body=None)
        self._added = trio.Event()

    async def tell(self, row: AccessRequestRow, event: EventType) -> None:
        """Queue a notification; a database that is away, or a full outbox, loses it, which is logged."""
        if not self._webhook.wants(event):
            return
        now = self._sources.now()
        delivery = DeliveryRow(
            delivery_id=self._sources.new_id(),
            body=json.dumps(self._document(row, event, now)),
            created_at=now,
            next_attempt_at=now,
        )
        try:
            added = await self._database.write(webhook_outbox.add, delivery=delivery, limit=MAX_WAITING)
        except StorageError as error:
            _log.warning("a notification is lost", extra={"reason": str(error)})
            return
        if not added:
            _log.warning("a notification is lost", extra={"reason": f"{MAX_WAITING} are waiting already"})
        self._added.set()

    async def run(self) -> NoReturn:
        """Send what is due, until cancelled."""
        while True:
            self._added = trio.Event()
            try:
                while await self.deliver_next():
                    pass
            except StorageError as error:
                _log.warning("cannot look for notifications", extra={"reason": str(error)})
            with trio.move_on_after(LOOK_SECONDS):
                await self._added.wait()

    async def deliver_next(self) -> bool:
        """Try the next one that is due; False when there is none."""
        now = self._sources.now()
        taken = await self._database.write(webhook_outbox.take, now=now, waits_ms=WAITS_MS)
        if taken is None:
            return False
        failure = await self._send(taken)
        if failure:
            given_up = taken.attempts >= len(WAITS_MS)
            _log.warning(
                "a notification is given up" if given_up else "a notification was not taken",
                extra={"delivery": taken.delivery_id, "attempt": taken.attempts, "reason": failure},
            )
        if not failure or taken.attempts >= len(WAITS_MS):
            await self._database.write(webhook_outbox.remove, delivery_id=taken.delivery_id)
        return True

    async def _send(self, delivery: DeliveryRow) -> str:
        """Return why it was not taken; empty when it was."""
        body = delivery.body.encode()
        seconds = self._sources.now() // 1000
        headers = signature_headers(
            self._webhook.secret.reveal().encode(), delivery.delivery_id, seconds, body
        )
        try:
            answer = await self._client.fetch(
                self._webhook.url, "POST", [("content-type", "application/json"), *headers], body
            )
        except FetchError as error:
            return str(error)
        return "" if 200 <= answer.status < 300 else f"the receiver answers with status {answer.status}"

    def _document(self, row: AccessRequestRow, event: EventType, now: int) -> dict[str, object]:
        return {
            "event": event.type_name,
            "occurred_at": format_timestamp(now),
            "cluster": self._cluster,
            "request": {
                "id": row.request_id,
                "user": row.user_name,
                "roles": list(row.roles),
                "nodes": list(row.nodes),
                "reason": row.reason,
                "ttl_seconds": row.ttl_seconds,
                "extends": row.extends,
                "state": row.state.value,
                "ends_at": format_timestamp(row.ends_at),
                "closed_by": row.closed_by,
                "closing_reason": row.closing_reason,
            },
        }
