# SPDX-License-Identifier: Apache-2.0
import hashlib

import attrs
import pytest
import trio

from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor
from mezite.storage import session_proofs, users
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.session_proofs import MAX_PENDING, SessionProofRow
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
END = NOW + 180_000


def proof(number=0, **changes):
    row = SessionProofRow(
        token_hash=hashlib.sha256(b"proof %d" % number).hexdigest(),
        user_name="alice",
        kind=ProvenFor.NODE,
        targets=("root@web-1",),
        needs="totp",
        serial="7",
        bound_to="connection 1",
        client_ip="192.0.2.7:50000",
        window_ms=0,
        created_at=NOW + number,
        expires_at=END,
    )
    return attrs.evolve(row, **changes)


HASH = proof().token_hash
SHOWN = {"token_hash": HASH, "user_name": "alice", "factor": ProvenFactor.TOTP, "good_ms": 60_000}
USED = {"token_hash": HASH, "bound_to": "connection 1"}
GOOD = {"user_name": "alice", "kind": ProvenFor.NODE, "serial": "7", "bound_to": "connection 1"}


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    await db.write(session_proofs.insert, proof=proof())
    return db


async def test_asked_for_shown_and_used_once(people):
    assert await people.read(session_proofs.get, token_hash=HASH) == proof()
    assert await people.write(session_proofs.use, **USED, now=NOW) is None
    shown = await people.write(session_proofs.prove, **SHOWN, now=NOW + 5)
    assert shown == proof(factor=ProvenFactor.TOTP, proven_at=NOW + 5, good_until=NOW + 60_005)
    assert await people.read(session_proofs.list_good, **GOOD, now=NOW + 6) == [shown]
    assert await people.write(session_proofs.prove, **SHOWN, now=NOW + 6) is None
    assert await people.write(session_proofs.use, **USED, now=NOW + 7) == attrs.evolve(shown, used_at=NOW + 7)
    assert await people.write(session_proofs.use, **USED, now=NOW + 8) is None
    assert await people.read(session_proofs.list_good, **GOOD, now=NOW + 8) == []


@pytest.mark.parametrize("changed", [{"user_name": "bob"}, {"now": END}, {"token_hash": "f" * 64}])
async def test_who_may_show_a_factor_and_until_when(people, changed):
    assert await people.write(session_proofs.prove, **{**SHOWN, "now": NOW, **changed}) is None
    assert await people.read(session_proofs.get, token_hash=HASH) == proof()


@pytest.mark.parametrize(
    "changed", [{"bound_to": "connection 2"}, {"now": NOW + 60_000}, {"token_hash": "f" * 64}]
)
async def test_who_may_use_it_and_until_when(people, changed):
    await people.write(session_proofs.prove, **SHOWN, now=NOW)
    assert await people.write(session_proofs.use, **{**USED, "now": NOW, **changed}) is None


@pytest.mark.parametrize(
    "changed",
    [
        {"user_name": "bob"},
        {"kind": ProvenFor.APP},
        {"serial": "8"},
        {"bound_to": ""},
        {"now": NOW + 60_000},
    ],
)
async def test_what_is_found(people, changed):
    await people.write(session_proofs.prove, **SHOWN, now=NOW)
    assert await people.read(session_proofs.list_good, **{**GOOD, "now": NOW, **changed}) == []


async def test_a_window_is_good_until_its_end(people):
    row = proof(1, window_ms=600_000)
    await people.write(session_proofs.insert, proof=row)
    shown = {**SHOWN, "token_hash": row.token_hash, "good_ms": 600_000}
    await people.write(session_proofs.prove, **shown, now=NOW)
    for _ in range(2):
        used = await people.write(session_proofs.use, **{**USED, "token_hash": row.token_hash}, now=NOW + 9)
        assert used is not None
        assert used.used_at == NOW + 9
        assert len(await people.read(session_proofs.list_good, **GOOD, now=NOW + 10)) == 1
    late = {**USED, "token_hash": row.token_hash, "now": NOW + 600_000}
    assert await people.write(session_proofs.use, **late) is None


async def test_refused_is_over(people):
    refused = {"token_hash": HASH, "user_name": "alice", "now": NOW + 1}
    assert await people.write(session_proofs.refuse, **{**refused, "user_name": "bob"}) is None
    assert await people.write(session_proofs.refuse, **refused) == proof(refused_at=NOW + 1)
    assert await people.write(session_proofs.refuse, **refused) is None
    assert await people.write(session_proofs.prove, **SHOWN, now=NOW + 2) is None


async def test_of_many_at_once_one_gets_it_e10(people):
    await people.write(session_proofs.prove, **SHOWN, now=NOW)
    got = []

    async def use() -> None:
        got.append(await people.write(session_proofs.use, **USED, now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(use)
    assert sum(row is not None for row in got) == 1


async def test_only_so_many_wait_and_what_is_over_goes(people):
    await people.write(session_proofs.prove, **SHOWN, now=NOW)
    for number in range(1, MAX_PENDING + 3):
        await people.write(session_proofs.insert, proof=proof(number))

    async def there(number):
        return await people.read(session_proofs.get, token_hash=proof(number).token_hash) is not None

    assert [number for number in range(MAX_PENDING + 3) if not await there(number)] == [1, 2]
    await people.write(session_proofs.insert, proof=proof(99, user_name="bob", created_at=END))
    assert [number for number in range(MAX_PENDING + 3) if await there(number)] == []
    assert await there(99)


async def test_bad_rows(people):
    with pytest.raises(AlreadyExistsError):
        await people.write(session_proofs.insert, proof=proof())
    with pytest.raises(ConstraintError):
        await people.write(session_proofs.insert, proof=proof(5, user_name="nobody"))
    with pytest.raises(ValueError, match="hex digits"):
        await people.write(session_proofs.insert, proof=proof(5, token_hash="raw"))
    assert await people.write(session_proofs.delete_of_user, user_name="alice") == 1
