# SPDX-License-Identifier: Apache-2.0
"""Two days and more of a cluster of forty agents: 10 % offline, 10 % with clocks that are off, a hub that dies in
each step.

Nobody is locked out; at the end everybody trusts the new keys and no one the old; what the old ones signed is refused
(threats F5, F6).
"""

import json

import pytest

from mezite.agent.trust import key_ids_of
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.timestamps import parse_timestamp
from mezite.services.authorities.keys import Purpose
from mezite.services.errors import ConflictError
from mezite.storage.audit_events import AuditQuery
from tests.services.authorities.rotation_cluster import Cluster, User, open_cluster
from tests.services.world import CLIENT, HOUR, START, certificate_der

CAS = (Purpose.USER_SSH, Purpose.HOST_SSH, Purpose.HOST_TLS, Purpose.USER_TLS)
BY = {"by": "root", "client_address": CLIENT}
SKEW = 270_000
"""Four and a half minutes; beyond five a hub refuses to renew, rotation or not."""


async def populate(cluster: Cluster) -> None:
    for number in range(40):
        away = {
            # Off when the rotation begins: a few hours, most of a day, more than a day, for ever.
            36: lambda hour: 4 <= hour < 9,
            37: lambda hour: 4 <= hour < 23,
            38: lambda hour: 4 <= hour < 56,
            39: lambda hour: hour >= 4,
        }.get(number, lambda _hour: False)
        skew = {0: SKEW, 1: -SKEW, 2: SKEW, 3: -SKEW}.get(number, 0)
        name = f"node-{number:02}"
        cluster.agents.append(await cluster.join(name, await cluster.token(), away=away, skew=skew))
    cluster.users = [User(name=f"user-{number}", phase=number) for number in range(2)]


async def begin(cluster: Cluster, purpose: Purpose) -> None:
    """As an administrator who tries until it is done: the hub dies in it, once before and once after it."""
    for when in ("before", "after"):
        assert await cluster.die_once(when, lambda: take(cluster, purpose))
    with pytest.raises(ConflictError, match="under way"):
        await take(cluster, purpose)


async def take(cluster: Cluster, purpose: Purpose) -> None:
    await cluster.hub.rotation.begin(purpose, **BY)


async def activation_hours(cluster: Cluster) -> dict[str, int]:
    """When each type was activated, by what was recorded."""
    query = AuditQuery(event_types=("ca.rotated",), limit=1000)
    events = [json.loads(line) for line in await cluster.audit.query(query)]
    return {
        event["resource_name"]: (parse_timestamp(event["timestamp"]) - START) // HOUR
        for event in events
        if event["step"] == "activated"
    }


async def test_forty_agents(tmp_path):
    async with open_cluster(tmp_path) as cluster:
        await populate(cluster)
        old_pins = cluster.hub.authorities.host_pins
        old_keys = {purpose: cluster.hub.authorities.ring.active(purpose).key_id for purpose in CAS}
        spare = await cluster.token()
        while cluster.hours < 5:
            await cluster.hour()
        assert cluster.steps == []
        old_certificate = certificate_der(cluster.agents[10].identity.tls_certificate_pem)

        for purpose in CAS:
            await begin(cluster, purpose)
        await cluster.hour()
        (status,) = await cluster.hub.rotation.status([Purpose.HOST_TLS])
        said = status.readiness.sentences()[0]
        assert said.startswith("36 of 40 agents have seen the new key; these 4 have not: node-36 (offline")

        while cluster.hours < 57:
            await cluster.hour()
        assert cluster.violations == []
        assert cluster.kills == 2 * 3 * len(CAS), "each of three steps of each CA, before and after"
        for purpose in CAS:
            (key,) = cluster.hub.authorities.ring.trusted(purpose)
            assert key.key_id != old_keys[purpose]
        # What waits for agents waited for the one that never came back: for the life of its certificate, no longer.
        hours = await activation_hours(cluster)
        assert hours["user-tls"] == 6
        assert hours["user-ssh"] == 28
        assert hours["host-tls"] == hours["host-ssh"] == 29, "a day for clients as well"

        # Everybody who could come back trusts the new keys and nothing else.
        wanted = cluster.hub.authorities.key_ids_for_agents
        for agent in cluster.agents[:38]:
            assert agent.connected, agent.refused
            stored = agent.store.load()
            assert stored is not None
            assert frozenset(key_ids_of(stored)) == wanted
        # Off for more than a day: their own certificates had run out.
        assert not cluster.agents[38].connected
        assert "expired" in cluster.agents[38].refused or "not from" in cluster.agents[38].refused

        now = cluster.clock.now
        with pytest.raises(CertificateRefused, match="not from a certificate authority trusted"):
            cluster.hub.authorities.verify_client(old_certificate, now=now)
        # A token of before the rotation names a CA that is gone; it leads to the new one all the same.
        assert spare.endswith(old_pins[0])
        rejoined = await cluster.join("node-40", spare)
        assert rejoined.connected


async def test_whom_force_leaves_behind_is_found(tmp_path):
    """The checker is worth nothing if it cannot fail."""
    async with open_cluster(tmp_path) as cluster:
        for name, away in (("here", lambda _hour: False), ("away", lambda hour: 1 <= hour < 3)):
            cluster.agents.append(await cluster.join(name, await cluster.token(), away=away))
        await cluster.hour()
        for _step in range(2):
            await cluster.hub.rotation.force(Purpose.HOST_TLS, **BY)
            await cluster.settle()
        await cluster.hour()
        assert cluster.violations == []
        await cluster.hour()
    assert len(cluster.violations) >= 1
    assert all("away is locked out" in violation for violation in cluster.violations)
