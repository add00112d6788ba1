# SPDX-License-Identifier: Apache-2.0
"""Notifications: what is sent, to whom, how often. The receiver is a server on loopback."""

import json
from contextlib import asynccontextmanager

import attrs
import trio

from mezite.core.access_request import RequestState
from mezite.core.audit.event_types import EventType
from mezite.core.oidc.provider_url import parse_provider_url
from mezite.core.secret import Secret
from mezite.core.webhook_signature import SIGNATURE_HEADERS, signature_is_valid
from mezite.services.requests.webhooks import MAX_WAITING, WAITS_MS, Webhook, Webhooks
from mezite.storage import webhook_outbox
from mezite.storage.access_requests import AccessRequestRow
from mezite.storage.webhook_outbox import DeliveryRow
from tests.loopback import listening
from tests.services.test_audit_log import break_database
from tests.services.world import CLUSTER, HOUR, START

SECRET = "0123456789abcdef"
ROW = AccessRequestRow(
    request_id="request-1",
    user_name="alice",
    roles=("ssh-production",),
    nodes=(),
    reason="incident 4711",
    ttl_seconds=3600,
    state=RequestState.APPROVED,
    created_at=START,
    ends_at=START + HOUR,
)
APPROVED, CREATED = EventType.ACCESS_REQUEST_APPROVED, EventType.ACCESS_REQUEST_CREATED


@attrs.define(eq=False)
class Receiver:
    """What a server was sent, and what it answers."""

    url: object = None
    status: int = 204
    body: str = ""
    heard: list = attrs.field(factory=list)
    arrived: trio.Event = attrs.field(factory=trio.Event)

    async def serve(self, stream):
        data = b""
        while b"\r\n\r\n" not in data or not complete(data):
            data += await stream.receive_some(65536)
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.heard.append((lines[0], dict(line.lower().split(": ", 1) for line in lines[1:]), body))
        await stream.send_all(
            f"HTTP/1.1 {self.status} X\r\nContent-Length: {len(self.body)}\r\n\r\n{self.body}".encode()
        )
        self.arrived.set()


def complete(data):
    head, _, body = data.partition(b"\r\n\r\n")
    return len(body) >= int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])


@asynccontextmanager
async def receiving():
    receiver = Receiver()
    async with listening(receiver.serve) as address:
        receiver.url = parse_provider_url(f"http://{address}/hook", plain_on_loopback=True)
        yield receiver


def webhooks(world, url, **changes):
    webhook = Webhook(url=url, secret=Secret(SECRET), allow_private=True)
    return Webhooks(
        database=world.database,
        sources=world.sources,
        cluster=CLUSTER,
        webhook=attrs.evolve(webhook, **changes),
    )


async def test_what_arrives(world):
    async with receiving() as receiver:
        sender = webhooks(world, receiver.url)
        await sender.tell(ROW, APPROVED)
        assert await sender.deliver_next()
        assert not await sender.deliver_next()
    ((line, headers, body),) = receiver.heard
    assert line == "POST /hook HTTP/1.1"
    assert headers["content-type"] == "application/json"
    assert signature_is_valid(SECRET.encode(), *(headers[name] for name in SIGNATURE_HEADERS), body)
    assert headers["mezite-webhook-timestamp"] == str(START // 1000)
    told = json.loads(body)
    assert (told["event"], told["cluster"]) == ("access_request.approved", CLUSTER)
    assert told["request"]["id"] == "request-1"
    assert (told["request"]["user"], told["request"]["roles"]) == ("alice", ["ssh-production"])
    assert (told["request"]["state"], told["request"]["reason"]) == ("approved", "incident 4711")
    assert SECRET not in str(receiver.heard)


async def test_what_the_receiver_says_besides_does_not_matter(world):
    """It took it: who sends it again has a chat say everything eight times."""
    async with receiving() as receiver:
        receiver.status, receiver.body = 200, "x" * 100_000
        sender = webhooks(world, receiver.url)
        await sender.tell(ROW, APPROVED)
        assert await sender.deliver_next()
        world.clock.now += HOUR
        assert not await sender.deliver_next()


async def test_it_is_tried_again_with_the_same_id(world):
    async with receiving() as receiver:
        receiver.status = 503
        sender = webhooks(world, receiver.url)
        await sender.tell(ROW, CREATED)
        for wait in WAITS_MS[:-1]:
            assert await sender.deliver_next()
            assert not await sender.deliver_next()
            world.clock.now += wait
        receiver.status = 200
        assert await sender.deliver_next()
        world.clock.now += HOUR
        assert not await sender.deliver_next()
    assert len(receiver.heard) == len(WAITS_MS)
    assert len({headers["mezite-webhook-id"] for _, headers, _ in receiver.heard}) == 1


async def test_in_the_end_it_is_given_up(world, caplog):
    async with receiving() as receiver:
        receiver.status = 302
        sender = webhooks(world, receiver.url)
        await sender.tell(ROW, CREATED)
        for wait in WAITS_MS:
            assert await sender.deliver_next()
            world.clock.now += wait
        assert not await sender.deliver_next()
    assert "a notification is given up" in caplog.text


async def test_private_addresses_are_not_called_g7(world):
    async with receiving() as receiver:
        sender = webhooks(world, receiver.url, allow_private=False)
        await sender.tell(ROW, CREATED)
        assert await sender.deliver_next()
    assert receiver.heard == []


async def test_only_what_is_wanted(world):
    sender = webhooks(world, parse_provider_url("https://hooks.example.com/x"), events=("approved", "denied"))
    await sender.tell(ROW, CREATED)
    assert not await sender.deliver_next()


async def test_what_cannot_be_kept_is_logged(world, caplog):
    sender = webhooks(world, parse_provider_url("https://hooks.example.com/x"))
    await break_database(world, "DROP TABLE webhook_outbox")
    await sender.tell(ROW, CREATED)
    assert "a notification is lost" in caplog.text


async def test_it_is_sent_at_once(world):
    """The loop wakes up when something is added."""
    async with receiving() as receiver, trio.open_nursery() as nursery:
        sender = webhooks(world, receiver.url)
        nursery.start_soon(sender.run)
        await sender.tell(ROW, APPROVED)
        with trio.fail_after(30):
            await receiver.arrived.wait()
        nursery.cancel_scope.cancel()


async def test_a_full_box_is_logged(world, caplog):
    """Bounded: a receiver that is gone for good fills no disk."""
    sender = webhooks(world, parse_provider_url("https://hooks.example.com/x"))

    def fill(conn):
        for number in range(MAX_WAITING):
            row = DeliveryRow(delivery_id=str(number), body="", created_at=0, next_attempt_at=START + HOUR)
            webhook_outbox.add(conn, delivery=row, limit=MAX_WAITING)

    await world.database.write(fill)
    await sender.tell(ROW, CREATED)
    assert "a notification is lost" in caplog.text
    assert not await sender.deliver_next()
