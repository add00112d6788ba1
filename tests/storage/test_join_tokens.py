# SPDX-License-Identifier: Apache-2.0
import hashlib

import attrs
import pytest
import trio

from mezite.storage import agents, join_tokens
from mezite.storage.agents import NewAgent
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError, NameTakenError
from mezite.storage.join_tokens import ConsumeFailure, JoinTokenRow

NOW = 1_790_000_000_000
RACERS = 50


def token(number=0, **changes):
    row = JoinTokenRow(
        token_hash=hashlib.sha256(b"secret %d" % number).hexdigest(),
        roles=("node",),
        labels={"env": "prod"},
        created_by="alice",
        created_at=NOW + number,
        expires_at=NOW + 3_600_000,
    )
    return attrs.evolve(row, **changes)


async def test_consumed_once_and_remembered(db):
    row = await db.write(join_tokens.insert, token=token())
    assert row == token()
    used = await db.write(join_tokens.consume, token_hash=row.token_hash, used_by="agent-1", now=NOW + 5)
    assert used == token(used_at=NOW + 5, used_by="agent-1")
    again = await db.write(join_tokens.consume, token_hash=row.token_hash, used_by="agent-2", now=NOW + 6)
    assert again is ConsumeFailure.USED
    assert await db.read(join_tokens.get, token_hash=row.token_hash) == used


async def test_unknown_and_expired(db):
    row = await db.write(join_tokens.insert, token=token())
    unknown = await db.write(join_tokens.consume, token_hash="0" * 64, used_by="a", now=NOW)
    assert unknown is ConsumeFailure.UNKNOWN
    expired = await db.write(join_tokens.consume, token_hash=row.token_hash, used_by="a", now=row.expires_at)
    assert expired is ConsumeFailure.EXPIRED
    last_moment = row.expires_at - 1
    used = await db.write(join_tokens.consume, token_hash=row.token_hash, used_by="a", now=last_moment)
    assert used.used_at == last_moment


async def test_no_prefix_of_a_token_is_a_token_e11(db):
    row = await db.write(join_tokens.insert, token=token())
    for length in range(64):
        with pytest.raises(ValueError, match="64 lower-case hex"):
            await db.write(join_tokens.consume, token_hash=row.token_hash[:length], used_by="a", now=NOW)
        assert await db.read(join_tokens.get, token_hash=row.token_hash[:length]) is None


@pytest.mark.parametrize("raw", ["mzt_secret", "A" * 64, "0" * 65, ""])
async def test_a_raw_token_is_never_stored_e11(sqlite_db, raw):
    with pytest.raises(ValueError, match="64 lower-case hex"):
        await sqlite_db.write(join_tokens.insert, token=token(token_hash=raw))


async def test_list_and_delete(db):
    for number in range(3):
        await db.write(join_tokens.insert, token=token(number))
    assert await db.read(join_tokens.list_all) == [token(2), token(1), token(0)]
    assert await db.write(join_tokens.delete, token_hash=token(1).token_hash)
    assert not await db.write(join_tokens.delete, token_hash=token(1).token_hash)
    assert await db.read(join_tokens.list_all) == [token(2), token(0)]


async def test_insert_twice(db):
    await db.write(join_tokens.insert, token=token())
    with pytest.raises(AlreadyExistsError):
        await db.write(join_tokens.insert, token=token(created_by="mallory"))


def join(conn, *, token_hash, agent):
    consumed = join_tokens.consume(conn, token_hash=token_hash, used_by=agent.agent_id, now=NOW)
    assert isinstance(consumed, JoinTokenRow)
    return agents.register(conn, agent=agent, now=NOW)


async def test_a_refused_registration_gives_the_token_back(db):
    await db.write(agents.register, agent=NewAgent(agent_id="old", node_name="web-1"), now=NOW)
    row = await db.write(join_tokens.insert, token=token())
    with pytest.raises(NameTakenError):
        await db.write(join, token_hash=row.token_hash, agent=NewAgent(agent_id="new", node_name="web-1"))
    assert (await db.read(join_tokens.get, token_hash=row.token_hash)).used_at is None


async def test_fifty_at_once_have_one_winner_e10_t17(db, database_url):
    """From two Database objects, as from two hubs."""
    async with await Database.open(database_url) as other_hub:
        for number in range(10):
            row = await db.write(join_tokens.insert, token=token(number))
            results = []

            async def use(agent, row=row, results=results):
                hub = (db, other_hub)[agent % 2]
                used = await hub.write(
                    join_tokens.consume, token_hash=row.token_hash, used_by=f"agent-{agent}", now=NOW
                )
                results.append(used)

            async with trio.open_nursery() as nursery:
                for agent in range(RACERS):
                    nursery.start_soon(use, agent)
            winners = [result for result in results if isinstance(result, JoinTokenRow)]
            assert len(winners) == 1
            assert results.count(ConsumeFailure.USED) == RACERS - 1
            assert await db.read(join_tokens.get, token_hash=row.token_hash) == winners[0]
