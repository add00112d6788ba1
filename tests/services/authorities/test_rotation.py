# SPDX-License-Identifier: Apache-2.0
"""A rotation on a real database: its steps, who holds it up, what is recorded, and hubs beside each other (F5)."""

import attrs
import pytest
import trio

from mezite.core.certificates.continuation import follow
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.trust_bundle import key_id_of_certificate
from mezite.core.rotation import MARGIN_MS, AuthorityState, Step
from mezite.core.secret import Secret
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.keys import CaPassphraseError, Purpose
from mezite.services.authorities.rotation import NOTE_MS, AuthorityRotation
from mezite.services.errors import ConflictError, InvalidRequestError
from mezite.storage import certificate_authorities as rows
from mezite.storage import trust
from mezite.storage.database import Database
from tests.services.world import (
    CLIENT,
    CLUSTER,
    HOUR,
    MINUTE,
    SSH_KEY,
    SSH_PUBLIC_LINE,
    START,
    TLS_KEY,
    TLS_PUBLIC_PEM,
    certificate_der,
)

BY = {"by": "root", "client_address": CLIENT}
DAY = 24 * HOUR
HOST, USERS = Purpose.HOST_TLS, Purpose.USER_TLS


def rotation_of(world, authorities=None, hub_id="hub-1"):
    return AuthorityRotation(
        database=world.database,
        authorities=authorities or world.authorities,
        audit=world.audit,
        sources=world.sources,
        hub_id=hub_id,
    )


@pytest.fixture
async def rotation(world):
    made = rotation_of(world)
    await made.note_hub()
    return made


async def look(rotation):
    """As the hub's keeper does."""
    await rotation.note_hub()
    return await rotation.advance()


async def acknowledge(world, agent):
    await world.enrollment.heartbeat(
        agent, labels={}, version="1", trusted_key_ids=sorted(world.authorities.key_ids_for_agents)
    )


def states(world, purpose):
    return [one.row.state for one in world.authorities.ring.trusted(purpose)]


ACTIVE, NEXT, RETIRED = AuthorityState.ACTIVE, AuthorityState.NEXT, AuthorityState.RETIRED


async def test_hosts_from_end_to_end(world, rotation):
    """Nobody is locked out in between; at the end the old is worth nothing."""
    enrolled = await world.join()
    agent = await world.agent_of(enrolled)
    old_pin, der = world.authorities.host_pin, certificate_der(enrolled.certificates.tls_certificate_pem)

    assert await rotation.begin(HOST, **BY) is Step.PUBLISHED
    assert states(world, HOST) == [ACTIVE, NEXT]
    assert world.authorities.host_pin == old_pin
    assert await look(rotation) == []

    world.clock.now += DAY - MINUTE
    fresh = await world.agent_of(await renewed(world, agent))
    assert await look(rotation) == [], "the agent has not said that it trusts the new key"
    await acknowledge(world, fresh)
    assert await look(rotation) == [], "clients have until tomorrow"
    world.clock.now += MINUTE
    assert await look(rotation) == [Step.ACTIVATED]
    assert states(world, HOST) == [ACTIVE, RETIRED]
    assert world.authorities.host_pin != old_pin
    for certificate in (
        (await renewed(world, fresh)).certificates,
        world.authorities.issue_hub(
            hub_id="hub-1", tls_key=TLS_KEY, ssh_key=SSH_KEY, names=("localhost",), addresses=()
        ),
    ):
        pem = certificate.tls_certificate_pem
        leaf = pem if isinstance(pem, str) else pem.decode()
        assert world.authorities.verify_client(certificate_der(leaf), now=world.clock.now)
    world.authorities.verify_client(der, now=world.clock.now - MINUTE)

    world.clock.now += DAY + MARGIN_MS - 1
    assert await look(rotation) == []
    world.clock.now += 1
    assert await look(rotation) == [Step.DROPPED]
    assert states(world, HOST) == [ACTIVE]
    with pytest.raises(CertificateRefused, match="not from a certificate authority trusted"):
        world.authorities.verify_client(der, now=START)
    events = await world.events("ca.rotated")
    assert [(event["step"], event["resource_name"]) for event in events] == [
        ("published", "host-tls"),
        ("activated", "host-tls"),
        ("dropped", "host-tls"),
    ]
    assert events[0]["user_name"] == "root"
    assert events[1]["former_key_id"] == old_pin == events[2]["key_ids"][0]
    assert events[1]["key_ids"] == events[0]["key_ids"] == [world.authorities.host_pin]


async def renewed(world, agent):
    return await world.enrollment.renew(
        agent,
        tls_public_key_pem=TLS_PUBLIC_PEM,
        ssh_public_key=SSH_PUBLIC_LINE,
        agent_time=world.clock.now,
        client_address=CLIENT,
    )


async def test_an_old_pin_leads_to_the_new_ca_even_when_its_own_is_gone(world, rotation):
    old = world.authorities.host_pin
    for _ in range(3):
        await rotation.force(HOST, **BY)
        found = follow([old], world.authorities.signed_trust(), now=world.clock.now // 1000)
        assert list(found.host_tls_ca_pem) == world.authorities.host_tls_ca_pem
        assert list(found.host_ssh_ca) == world.authorities.host_ssh_ca_lines
    assert world.authorities.host_pins == [world.authorities.host_pin] != [old]
    assert [key_id_of_certificate(pem) for pem in found.host_tls_ca_pem] == world.authorities.host_pins


async def test_the_list_of_now_is_signed_again_in_time(world):
    (first,) = world.authorities.signed_trust()
    assert world.authorities.signed_trust() == [first]
    world.clock.now += 31 * MINUTE
    (second,) = world.authorities.signed_trust()
    assert second != first
    world.clock.now -= 2 * HOUR
    assert world.authorities.signed_trust() != [second]


async def test_what_only_hubs_check_waits_for_hubs_only(world, rotation):
    await world.agent()
    await rotation.begin(USERS, **BY)
    assert await look(rotation) == [Step.ACTIVATED]


async def test_a_hub_that_has_not_read_the_key_holds_it_up(world, rotation):
    other = rotation_of(
        world,
        await CertificateAuthorities.open(
            world.database, cluster=CLUSTER, passphrase=None, sources=world.sources
        ),
        hub_id="hub-2",
    )
    await other.note_hub()
    await rotation.begin(USERS, **BY)
    await rotation.note_hub()
    assert await rotation.advance() == []
    (status,) = await rotation.status([USERS])
    assert status.readiness.sentences() == [
        "1 of 2 hubs has seen the new key; this one has not: hub-2 (online)"
    ]
    await other._authorities.reload()
    await other.note_hub()
    assert await rotation.advance() == [Step.ACTIVATED]


async def test_two_hubs_that_look_at_once_take_one_step(world, rotation):
    others = [rotation]
    for number in range(2, 5):
        authorities = await CertificateAuthorities.open(
            world.database, cluster=CLUSTER, passphrase=None, sources=world.sources
        )
        others.append(rotation_of(world, authorities, hub_id=f"hub-{number}"))
    await rotation.begin(USERS, **BY)
    for other in others:
        await other._authorities.reload()
        await other.note_hub()
    taken = []

    async def advance(one):
        taken.extend(await one.advance())

    async with trio.open_nursery() as nursery:
        for other in others:
            nursery.start_soon(advance, other)
    assert taken == [Step.ACTIVATED]
    assert len(await world.database.read(rows.list_all, purpose=USERS.value)) == 2


async def test_force_says_whom_it_leaves_behind(world, rotation):
    await world.agent("web-1")
    await acknowledge(world, await world.agent("web-2"))
    await rotation.force(HOST, **BY)
    await acknowledge(world, await world.agent("web-3"))
    assert await rotation.force(HOST, **BY) is Step.ACTIVATED
    event = (await world.events("ca.rotated"))[-1]
    assert (event["forced"], event["agents_not_ready"]) == (True, ["web-1", "web-2"])


async def test_rolling_back(world, rotation):
    old = world.authorities.host_pin
    await rotation.begin(HOST, **BY)
    assert await rotation.roll_back(HOST, **BY) is Step.WITHDRAWN
    assert world.authorities.host_pins == [old]
    world.clock.now += 1
    await rotation.begin(HOST, **BY)
    await rotation.force(HOST, **BY)
    new = world.authorities.host_pin
    assert await rotation.roll_back(HOST, **BY) is Step.RETURNED
    assert world.authorities.host_pins == [old, new]
    with pytest.raises(ConflictError, match="host-tls: there is nothing to roll back"):
        await rotation.roll_back(HOST, **BY)


async def test_a_second_rotation_is_refused(world, rotation):
    await rotation.begin(HOST, **BY)
    with pytest.raises(ConflictError, match="host-tls: a rotation is under way"):
        await rotation.begin(HOST, **BY)
    assert len(await world.events("ca.rotated")) == 1


async def test_assertions_are_always_one_key_ahead(world, rotation):
    ahead = world.authorities.ring.trusted(Purpose.APP_JWT)[1].key_id
    assert await rotation.begin(Purpose.APP_JWT, **BY) is Step.REQUESTED
    assert await look(rotation) == []
    world.clock.now += 2 * HOUR
    assert await look(rotation) == [Step.ACTIVATED]
    assert world.authorities.ring.active(Purpose.APP_JWT).key_id == ahead
    assert await look(rotation) == [Step.PUBLISHED]
    assert states(world, Purpose.APP_JWT) == [ACTIVE, NEXT, RETIRED]
    assert not world.authorities.ring.facts(Purpose.APP_JWT).upcoming.requested


async def test_keys_of_the_audit_log_are_kept_for_ever(world, rotation):
    await rotation.begin(Purpose.AUDIT, **BY)
    assert await look(rotation) == [Step.ACTIVATED]
    world.clock.now += 4000 * DAY
    await look(rotation)
    assert states(world, Purpose.AUDIT) == [ACTIVE, RETIRED]


async def test_what_cannot_be_recorded_does_not_happen(world, rotation):
    class Deaf:
        async def emit(self, *_event, **_fields):
            raise AuditUnavailableError("no")

    rotation._audit = Deaf()
    with pytest.raises(AuditUnavailableError):
        await rotation.begin(HOST, **BY)
    assert states(world, HOST) == [ACTIVE]


async def test_new_keys_are_encrypted_as_the_others_are(world, tmp_path):
    async with await Database.open(tmp_path / "secret.db") as database:
        authorities = await CertificateAuthorities.open(
            database, cluster=CLUSTER, passphrase=Secret("open sesame"), sources=world.sources
        )
        locked = attrs.evolve(world, database=database, authorities=authorities)
        await rotation_of(locked).begin(HOST, **BY)
        stored = await database.read(rows.list_all, purpose=HOST.value)
        assert [b"ENCRYPTED" in row.private for row in stored] == [True, True]
        # A hub with another passphrase goes on with what it has.
        authorities.store.passphrase = Secret("wrong")
        kept = authorities.ring
        await rotation_of(locked).roll_back(HOST, **BY)
        authorities.store.passphrase = Secret("open sesame")
        await rotation_of(locked).begin(HOST, **BY)
        late = attrs.evolve(authorities.store, passphrase=Secret("wrong"))
        with pytest.raises(CaPassphraseError):
            await late.load(kept)


async def test_a_hub_says_it_is_alive_now_and_then(world, rotation):
    (first,) = await world.database.read(trust.hubs_and_trust)
    assert set(first.key_ids) == world.authorities.ring.key_ids
    world.clock.now += NOTE_MS - 1
    await rotation.note_hub()
    assert await world.database.read(trust.hubs_and_trust) == [first]
    world.clock.now += 1
    await rotation.note_hub()
    (second,) = await world.database.read(trust.hubs_and_trust)
    assert second.seen_at == first.seen_at + NOTE_MS
    await rotation.begin(HOST, **BY)
    await rotation.note_hub()
    (third,) = await world.database.read(trust.hubs_and_trust)
    assert set(third.key_ids) == world.authorities.ring.key_ids > set(second.key_ids)


@pytest.mark.parametrize("key_ids", [["x"], ["A" * 64], ["a" * 64] * 33, ["a" * 64 + "\n"]])
async def test_agents_acknowledge_keys_only(world, key_ids):
    agent = await world.agent()
    with pytest.raises(InvalidRequestError, match="32 key ids"):
        await world.enrollment.heartbeat(agent, labels={}, version="", trusted_key_ids=key_ids)


async def test_a_step_wakes_the_hub(world, rotation, autojump_clock):
    with trio.move_on_after(1) as waiting:
        await rotation.wait_woken()
    assert waiting.cancelled_caught
    await rotation.begin(HOST, **BY)
    await rotation.wait_woken()
