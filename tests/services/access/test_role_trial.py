# SPDX-License-Identifier: Apache-2.0
"""What a role would change, before it is stored."""

from mezite.core.audit.event_types import EventType
from mezite.services.access import role_trial
from mezite.services.access.role_trial import MAX_PAIRS, AccessPair, RefusedAccess
from tests.services.access.test_roles import document, put
from tests.services.world import CLIENT

DAY = 86_400_000


async def test_a_dry_run_says_who_gains_and_loses_what(world):
    await world.agent("web-1", env="prod")
    await world.agent("web-2", env="dev")
    await put(world, document(labels={"env": "prod"}, logins=["ubuntu", "{{internal.logins}}"]))
    await world.user("alice", ("dev",), ("alice",))
    await world.user("bob", ("dev", "access"), ("bob",))
    await world.user("carol", ("access",), ("carol",))
    new = document(labels={"env": ["prod", "dev"]}, logins=["ubuntu"], deny={"logins": ["bob"]})
    known, created, difference, _ = await world.role_trial.try_out(new)
    assert (known.role.name, created) == ("dev", False)
    assert difference.gained == [
        AccessPair(user="alice", node="web-2", login="ubuntu"),
        AccessPair(user="bob", node="web-2", login="ubuntu"),
    ]
    assert difference.lost == [
        AccessPair(user="alice", node="web-1", login="alice"),
        AccessPair(user="bob", node="web-1", login="bob"),
        AccessPair(user="bob", node="web-2", login="bob"),
    ]
    assert (difference.gained_count, difference.lost_count) == (2, 3)
    stored = await world.roles.get("dev")
    assert stored.role.allow.logins == ("ubuntu", "{{internal.logins}}")
    assert len(await world.events("role.updated")) == 0


async def test_a_dry_run_of_a_new_role(world):
    """Nobody has it, unless a user row was left with its name."""
    await world.agent("web-1", env="prod")
    _, created, difference, _ = await world.role_trial.try_out(document())
    assert (created, difference.gained, difference.lost) == (True, [], [])
    await put(world, document())
    await world.user("alice", ("dev",), ())
    await world.database.write(lambda conn: conn.exec_driver_sql("DELETE FROM roles"))
    _, created, difference, _ = await world.role_trial.try_out(document())
    assert created
    assert difference.gained == [AccessPair(user="alice", node="web-1", login="ubuntu")]


async def test_a_dry_run_lists_the_first_pairs_and_counts_all(world):
    await world.agent("web-1")
    await put(world, document(logins=[]))
    logins = [f"u{number}" for number in range(256)]
    for number in range(4):
        await world.accounts.create(f"user{number}", roles=("dev",), traits={}, by="root")
    _, _, difference, _ = await world.role_trial.try_out(document(logins=logins))
    assert (len(difference.gained), difference.gained_count) == (MAX_PAIRS, 1024)


async def visit(world, user, node, login, **labels):
    """An access as the audit log keeps it."""
    fields = {"user_name": user, "resource_type": "node", "resource_name": node, "resource_labels": labels}
    await world.audit.emit(EventType.SESSION_START, client_ip=CLIENT, login=login, **fields)


async def test_past_accesses_are_decided_again(world):
    """By the labels that the nodes had then; of what is refused today already nothing is said."""
    await put(world, document(labels={"env": ["prod", "dev"]}, logins=["ubuntu", "root"]))
    await world.user("alice", ("dev",), ())
    await world.user("bob", ("dev",), ())
    await world.user("carol", ("access",), ("root",))
    await visit(world, "alice", "old", "root", env="prod")
    world.clock.now += 10 * DAY
    for _ in range(3):
        await visit(world, "alice", "web-1", "root", env="prod")
    await visit(world, "bob", "web-1", "root", env="prod")
    last = world.clock.now
    await visit(world, "bob", "web-2", "ubuntu", env="dev")
    await visit(world, "bob", "web-3", "ubuntu", env="lost")
    await visit(world, "carol", "web-1", "root", env="prod")
    world.clock.now += DAY
    new = document(labels={"env": ["prod", "dev"]}, logins=["ubuntu"])
    *_, replay = await world.role_trial.try_out(new, replay_days=7)
    assert replay.accesses == 7
    assert replay.refused == (
        RefusedAccess(pair=AccessPair(user="alice", node="web-1", login="root"), count=3, last_at=last),
        RefusedAccess(pair=AccessPair(user="bob", node="web-1", login="root"), count=1, last_at=last),
    )
    assert replay.reaches_back_to == world.clock.now - 7 * DAY
    *_, replay = await world.role_trial.try_out(new, replay_days=30)
    assert [each.pair.node for each in replay.refused] == ["web-1", "old", "web-1"]
    *_, unasked = await world.role_trial.try_out(new)
    assert (unasked.accesses, unasked.refused) == (0, ())


async def test_what_is_too_much_to_read_is_said(world, monkeypatch):
    monkeypatch.setattr(role_trial, "MAX_REPLAYED", 4)
    monkeypatch.setattr(role_trial, "_PAGE", 2)
    await put(world, document())
    await world.user("alice", ("dev",), ())
    times = []
    for _ in range(6):
        world.clock.now += 1000
        times.append(world.clock.now)
        await visit(world, "alice", "web-1", "ubuntu", env="prod")
    world.clock.now += 1
    *_, replay = await world.role_trial.try_out(document(logins=[]), replay_days=1)
    assert (replay.accesses, replay.reaches_back_to) == (4, times[2])
    assert replay.refused[0].count == 4
