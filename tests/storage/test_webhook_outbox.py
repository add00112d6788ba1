# SPDX-License-Identifier: Apache-2.0
import attrs
import trio

from mezite.storage import webhook_outbox
from mezite.storage.webhook_outbox import DeliveryRow

NOW = 1_790_000_000_000
WAITS = (10, 30)


def delivery(number=1, **changes):
    row = DeliveryRow(delivery_id=f"id-{number}", body="{}", created_at=NOW, next_attempt_at=NOW + number)
    return attrs.evolve(row, **changes)


async def test_taken_when_due_the_oldest_first(db):
    for number in (2, 1):
        assert await db.write(webhook_outbox.add, delivery=delivery(number), limit=10)
    assert await db.write(webhook_outbox.take, now=NOW, waits_ms=WAITS) is None
    taken = await db.write(webhook_outbox.take, now=NOW + 2, waits_ms=WAITS)
    assert taken == delivery(1, attempts=1, next_attempt_at=NOW + 12)
    assert (await db.write(webhook_outbox.take, now=NOW + 2, waits_ms=WAITS)).delivery_id == "id-2"
    assert await db.write(webhook_outbox.take, now=NOW + 2, waits_ms=WAITS) is None
    again = await db.write(webhook_outbox.take, now=NOW + 12, waits_ms=WAITS)
    assert (again.attempts, again.next_attempt_at) == (2, NOW + 42)
    third = await db.write(webhook_outbox.take, now=NOW + 42, waits_ms=WAITS)
    await db.write(webhook_outbox.remove, delivery_id=third.delivery_id)
    assert (await db.write(webhook_outbox.take, now=NOW + 90, waits_ms=WAITS)).delivery_id != (
        third.delivery_id
    )


async def test_the_box_has_a_size(db):
    assert await db.write(webhook_outbox.add, delivery=delivery(1), limit=1)
    assert not await db.write(webhook_outbox.add, delivery=delivery(2), limit=1)
    assert not await db.write(webhook_outbox.add, delivery=delivery(1), limit=2)


async def test_one_hub_takes_it(db):
    """Threat E10."""
    await db.write(webhook_outbox.add, delivery=delivery(), limit=10)
    results = []

    async def take():
        results.append(await db.write(webhook_outbox.take, now=NOW + 1, waits_ms=WAITS))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(take)
    assert len([row for row in results if row is not None]) == 1
