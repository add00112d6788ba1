# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import certificate_authorities as authorities
from mezite.storage.certificate_authorities import AuthorityState, CertificateAuthorityRow, StateChange
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError, StaleStateError

NOW = 1_790_000_000_000


def authority(authority_id="ca-1", **changes):
    row = CertificateAuthorityRow(
        id=authority_id,
        purpose="user-ssh",
        public=b"\x00ssh-ed25519\xff",
        private=b"-----BEGIN CANARY-----",
        certificate=None,
        state=AuthorityState.ACTIVE,
        created_at=NOW,
        updated_at=NOW,
    )
    return attrs.evolve(row, **changes)


async def test_the_first_becomes_active_and_the_second_gets_the_first(db):
    first = await db.write(authorities.insert_active_if_absent, row=authority("ca-1"))
    second = await db.write(authorities.insert_active_if_absent, row=authority("ca-2", public=b"other"))
    assert first == second == authority("ca-1")
    assert await db.read(authorities.get, authority_id="ca-2") is None
    assert await db.read(authorities.get_active, purpose="user-ssh") == first
    assert await db.read(authorities.get_active, purpose="host-ssh") is None


async def test_each_purpose_has_its_own(db):
    host = authority("ca-2", purpose="host-tls", certificate="-----BEGIN CERTIFICATE-----")
    await db.write(authorities.insert_active_if_absent, row=authority("ca-1"))
    assert await db.write(authorities.insert_active_if_absent, row=host) == host
    with pytest.raises(AlreadyExistsError):
        await db.write(authorities.insert_active_if_absent, row=authority("ca-2", purpose="user-tls"))
    assert [row.id for row in await db.read(authorities.list_all)] == ["ca-2", "ca-1"]
    assert await db.read(authorities.list_all, purpose="host-tls") == [host]


async def test_only_an_active_one_can_be_the_active_one(sqlite_db):
    with pytest.raises(ValueError, match="not active"):
        await sqlite_db.write(authorities.insert_active_if_absent, row=authority(state=AuthorityState.NEXT))


async def test_hubs_that_start_at_once_agree(db, database_url):
    agreed = []

    async def start(number):
        async with await Database.open(database_url) as hub:
            row = authority(f"ca-{number}", private=b"key %d" % number)
            agreed.append(await hub.write(authorities.insert_active_if_absent, row=row))

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(start, number)
    assert len({row.id for row in agreed}) == 1
    assert agreed[0] == await db.read(authorities.get_active, purpose="user-ssh")


def to_active(authority_id):
    return StateChange(authority_id=authority_id, was=AuthorityState.NEXT, becomes=AuthorityState.ACTIVE)


def to_retired(authority_id):
    return StateChange(
        authority_id=authority_id,
        was=AuthorityState.ACTIVE,
        becomes=AuthorityState.RETIRED,
        retired_at=NOW + 2,
    )


async def test_rotation(db):
    await db.write(authorities.insert, row=authority("ca-1"))
    await db.write(authorities.insert, row=authority("ca-2", state=AuthorityState.NEXT, requested_at=NOW))
    with pytest.raises(AlreadyExistsError, match="user-ssh/next"):
        await db.write(authorities.insert, row=authority("ca-3", state=AuthorityState.NEXT))
    # In whatever order: the index that keeps two from being active is never in the way.
    await db.write(authorities.change, changes=[to_active("ca-2"), to_retired("ca-1")], now=NOW + 2)
    found = {row.id: row for row in await db.read(authorities.list_all, purpose="user-ssh")}
    assert (found["ca-1"].state, found["ca-1"].retired_at) == (AuthorityState.RETIRED, NOW + 2)
    assert (found["ca-2"].state, found["ca-2"].requested_at) == (AuthorityState.ACTIVE, None)
    assert {row.updated_at for row in found.values()} == {NOW + 2}
    retired = await db.read(authorities.list_all, states=[AuthorityState.RETIRED])
    assert [row.id for row in retired] == ["ca-1"]
    gone = StateChange(authority_id="ca-1", was=AuthorityState.RETIRED, becomes=None)
    await db.write(authorities.change, changes=[gone], now=NOW + 3)
    assert [row.id for row in await db.read(authorities.list_all)] == ["ca-2"]


async def test_a_step_from_a_state_that_is_not_changes_nothing(db):
    """Another hub was faster: of two steps at once one is done, and the other not in part either."""
    await db.write(authorities.insert, row=authority("ca-1"))
    for changes in ([to_retired("ca-1"), to_active("ca-2")], [to_active("ca-1")], [to_retired("ca-9")]):
        with pytest.raises(StaleStateError, match="changed by another hub"):
            await db.write(authorities.change, changes=changes, now=NOW + 2)
    gone = StateChange(authority_id="ca-1", was=AuthorityState.RETIRED, becomes=None)
    with pytest.raises(StaleStateError):
        await db.write(authorities.change, changes=[gone], now=NOW)
    assert await db.read(authorities.list_all) == [authority("ca-1")]


async def test_one_is_ahead_however_many_hubs_make_it(db):
    for number in range(2):
        row = authority(f"ca-{number}", state=AuthorityState.NEXT)
        assert await db.write(authorities.insert_if_absent_in_state, row=row) is (number == 0)
    assert [row.id for row in await db.read(authorities.list_all)] == ["ca-0"]


async def test_any_number_may_be_retired(db):
    for number in range(3):
        await db.write(authorities.insert, row=authority(f"ca-{number}", state=AuthorityState.RETIRED))
    assert len(await db.read(authorities.list_all)) == 3


async def test_a_private_key_is_swapped_only_against_the_one_that_was_read(db):
    await db.write(authorities.insert, row=authority())
    swap = {"authority_id": "ca-1", "private": b"encrypted", "now": NOW + 1}
    assert not await db.write(authorities.replace_private, expected=b"something else", **swap)
    assert await db.write(authorities.replace_private, expected=authority().private, **swap)
    assert (await db.read(authorities.get, authority_id="ca-1")).private == b"encrypted"


def test_the_private_key_is_not_in_the_repr_h6():
    assert "CANARY" not in repr(authority())
