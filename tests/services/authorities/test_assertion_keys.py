# SPDX-License-Identifier: Apache-2.0
"""A year of assertions: two hubs, keys that change every six weeks, and backends with old copies of the key set."""

import json
from itertools import pairwise

import attrs
import trio

from mezite.core.assertion.key_set import AssertionKeys
from mezite.core.assertion.refusal import AssertionReason, AssertionRefused
from mezite.core.assertion.verifier import verify_assertion
from mezite.core.certificates.jwk import public_jwk
from mezite.core.rotation import AuthorityState, Step
from mezite.services.apps.assertions import AppAssertions
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.key_export import app_jwks
from mezite.services.authorities.keys import Purpose
from mezite.services.authorities.rotation import AuthorityRotation
from mezite.storage import trust
from tests.services.apps.test_request_log import GRAFANA
from tests.services.authorities.test_rotation import rotation_of
from tests.services.world import CLUSTER, HOUR, MINUTE

DAY = 24 * HOUR
WEEKS = 7 * DAY
JWT = Purpose.APP_JWT


@attrs.frozen
class HubHere:
    """One of the hubs that share the database."""

    authorities: CertificateAuthorities
    rotation: AuthorityRotation
    assertions: AppAssertions

    async def look(self):
        """As the hub's keeper does, every five seconds."""
        await self.authorities.reload()
        await self.rotation.note_hub()
        return await self.rotation.advance()

    def key_set(self):
        return AssertionKeys.parse(json.dumps(app_jwks(self.authorities)))


async def hub_of(world, hub_id):
    authorities = await CertificateAuthorities.open(
        world.database, cluster=CLUSTER, passphrase=None, sources=world.sources
    )
    return HubHere(
        authorities,
        rotation_of(world, authorities, hub_id),
        AppAssertions(authorities=authorities, issuer=lambda: "https://hub", sources=world.sources),
    )


def signed(hub, user):
    return hub.assertions.fields(GRAFANA, user)[0][1]


def taken(token, keys, now):
    """Why it is refused, or None."""
    try:
        verify_assertion(token, keys, audience=GRAFANA.uri, now=now / 1000)
    except AssertionRefused as refused:
        return refused.reason
    return None


async def both(hubs):
    """All hubs at the same moment, until nothing is due: what one does, another finds done."""
    steps = []

    async def look(hub):
        steps.extend(await hub.look())

    for _ in range(3):
        steps.clear()
        async with trio.open_nursery() as nursery:
            for hub in hubs:
                nursery.start_soon(look, hub)
        if not steps:
            break
    for hub in hubs:
        await hub.authorities.reload()


async def test_a_year(world):
    alice = await world.user()
    hubs = [await hub_of(world, f"hub-{number}") for number in (1, 2)]
    copies, signing, former = [], [], {}
    for number in range(365 // 3):
        late = [signed(hub, alice) for hub in hubs]
        await both(hubs)
        now = world.clock.now
        rings = [hub.authorities.ring for hub in hubs]
        assert rings[0].key_ids == rings[1].key_ids
        copies.append(hubs[number % 2].key_set())
        signing.append(rings[0].active(JWT).key_id)
        for authority in rings[0].trusted(JWT):
            if authority.row.state is AuthorityState.RETIRED:
                former.setdefault(authority.key_id, []).append(3 * number)
        for hub in hubs:
            token = signed(hub, alice)
            # A copy of 33 days ago is good for what is signed now; hubs tell readers to keep one for an hour.
            assert taken(token, copies[max(0, number - 11)], now) is None
        # What was signed a moment before a change is good afterwards.
        assert [taken(token, copies[-1], now) for token in late] == [None, None]
        world.clock.now += 3 * DAY

    days = range(3, 365, 3)
    changes = [day for day, (before, after) in zip(days, pairwise(signing), strict=False) if before != after]
    assert changes == [42 * number for number in range(1, 9)]
    assert len(set(signing)) == 9, "no key comes back, and two hubs do not rotate twice"
    # From the change on, for seven days.
    assert list(former.values()) == [[change, change + 3, change + 6] for change in changes]
    events = [event for event in await world.events("ca.rotated") if event["step"] == "activated"]
    assert {event["former_key_id"] for event in events} == set(signing) - {signing[-1]}
    assert {event["resource_name"] for event in events} == {"app-jwt"}


async def test_it_waits_for_a_hub_that_does_not_have_the_next_key(world):
    """Six weeks are over while one of the hubs has not looked for a minute."""
    one, other = await hub_of(world, "hub-1"), await hub_of(world, "hub-2")
    await both([one, other])
    world.clock.now += 6 * WEEKS - MINUTE // 2
    await world.database.write(_forget_keys, hub_id="hub-2", now=world.clock.now)
    await one.look()
    world.clock.now += MINUTE // 2
    assert await one.look() == []
    await other.authorities.reload()
    await other.rotation.note_hub()
    assert await one.look() == [Step.ACTIVATED]


def _forget_keys(conn, *, hub_id, now):
    trust.note_hub(conn, hub_id=hub_id, key_ids=frozenset(), now=now)


async def test_a_hub_that_was_off_for_a_year_changes_the_key_once(world):
    hub = await hub_of(world, "hub-1")
    await hub.look()
    before = hub.authorities.ring.active(JWT).key_id
    world.clock.now += 365 * DAY
    assert await hub.look() == [Step.ACTIVATED]
    assert await hub.look() == [Step.PUBLISHED]
    assert await hub.look() == []
    assert hub.authorities.ring.active(JWT).key_id != before


async def test_another_clusters_assertion(world, tmp_path):
    """Keys are looked up by name, and names are of keys."""
    alice = await world.user()
    hub = await hub_of(world, "hub-1")
    token = signed(hub, alice)
    fresh = hub.authorities.store.fresh(JWT)
    stranger = hub.authorities.store.open(fresh).key.public_key()
    others = AssertionKeys.parse(json.dumps({"keys": [public_jwk(stranger)]}))
    assert taken(token, others, world.clock.now) is AssertionReason.UNKNOWN_KEY
