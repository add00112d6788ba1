# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.storage import join_tokens
from mezite.storage.join_tokens import JoinTokenRow
from mezite.storage.one_time import ConsumeFailure, consume_once
from mezite.storage.schema import join_tokens as table

HASH = "ab" * 32


@pytest.fixture
async def stored(db):
    row = JoinTokenRow(token_hash=HASH, roles=(), labels={}, created_by="a", created_at=0, expires_at=100)
    await db.write(join_tokens.insert, token=row)
    return db


@pytest.mark.parametrize(
    ("now", "expected"), [(99, None), (100, ConsumeFailure.EXPIRED), (101, ConsumeFailure.EXPIRED)]
)
async def test_the_end_is_exclusive(stored, now, expected):
    outcome = await stored.write(consume_once, table, HASH, now=now)
    assert expected in (None, outcome)
    assert isinstance(outcome, ConsumeFailure) is (expected is not None)


async def test_a_rolled_back_use_is_no_use_e10(stored):
    def use_and_fail(conn):
        assert consume_once(conn, table, HASH, now=1).used_at == 1
        raise RuntimeError("something else went wrong")

    with pytest.raises(RuntimeError, match="something else"):
        await stored.write(use_and_fail)
    assert (await stored.write(consume_once, table, HASH, now=2)).used_at == 2
    assert await stored.write(consume_once, table, HASH, now=3) is ConsumeFailure.USED


async def test_unknown(stored):
    assert await stored.write(consume_once, table, "cd" * 32, now=1) is ConsumeFailure.UNKNOWN
