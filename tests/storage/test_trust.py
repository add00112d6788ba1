# SPDX-License-Identifier: Apache-2.0
from mezite.storage import agents, trust
from mezite.storage.agents import NewAgent, TunnelLease
from mezite.storage.trust import MOST_CONTINUATIONS, AgentTrust, ContinuationRow, HubTrust

NOW = 1_790_000_000_000


async def join(db, name, now=NOW):
    await db.write(agents.register, agent=NewAgent(agent_id=f"id-{name}", node_name=name), now=now)


async def test_agents_and_what_they_have_stored(db):
    for name in ("web-2", "web-1", "gone", "locked"):
        await join(db, name)
    await db.write(trust.note_agent, agent_id="id-web-2", key_ids=["b", "a"], now=NOW)
    await db.write(agents.remove, agent_id="id-gone", now=NOW)
    await db.write(agents.lock, agent_id="id-locked", reason="test", now=NOW)
    epoch = await db.write(agents.next_epoch, agent_id="id-web-1", hub_id="hub-1", now=NOW + 5)
    lease = TunnelLease(agent_id="id-web-1", epoch=epoch, lease_until=NOW + 9)
    await db.write(agents.mark_connected, lease=lease, now=NOW + 5)
    common = {"agent_id": "id-web-1", "node_name": "web-1", "key_ids": ()}
    assert await db.read(trust.agents_and_trust) == [
        AgentTrust(**common, lease_until=NOW + 9, last_seen=NOW + 5),
        AgentTrust(
            agent_id="id-web-2",
            node_name="web-2",
            key_ids=("a", "b"),
            lease_until=None,
            last_seen=NOW,
        ),
    ]


async def test_what_an_agent_says_last_counts(db):
    await join(db, "web-1")
    for key_ids in (["a"], ["a", "b"], ["b"], ["b"]):
        await db.write(trust.note_agent, agent_id="id-web-1", key_ids=key_ids, now=NOW)
        (found,) = await db.read(trust.agents_and_trust)
        assert found.key_ids == tuple(key_ids)


async def test_hubs(db):
    await db.write(trust.note_hub, hub_id="hub-2", key_ids=["b", "a"], now=NOW)
    await db.write(trust.note_hub, hub_id="hub-1", key_ids=["a"], now=NOW)
    await db.write(trust.note_hub, hub_id="hub-1", key_ids=["a"], now=NOW + 1)
    assert await db.read(trust.hubs_and_trust) == [
        HubTrust(hub_id="hub-1", key_ids=("a",), seen_at=NOW + 1),
        HubTrust(hub_id="hub-2", key_ids=("a", "b"), seen_at=NOW),
    ]
    assert await db.write(trust.forget_hubs, before=NOW + 1) == 1
    assert [one.hub_id for one in await db.read(trust.hubs_and_trust)] == ["hub-1"]


def continuation(number):
    return ContinuationRow(
        signer_key_id=f"key-{number:02}", document=f"{number}", signature="s", created_at=NOW + number
    )


async def test_the_latest_continuations_are_kept(db):
    for number in range(MOST_CONTINUATIONS + 2):
        await db.write(trust.add_continuation, row=continuation(number))
    kept = await db.read(trust.continuations)
    assert kept == [continuation(number) for number in range(MOST_CONTINUATIONS + 1, 1, -1)]
