# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.storage import certificate_authorities as authorities
from mezite.storage.certificate_authorities import AuthorityState, CertificateAuthorityRow
from mezite.storage.database import Database
from mezite.storage.errors import AlreadyExistsError

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


async def test_rotation(db):
    await db.write(authorities.insert, row=authority("ca-1"))
    assert await db.write(authorities.promote_next, purpose="user-ssh", now=NOW + 1) is None
    await db.write(authorities.insert, row=authority("ca-2", state=AuthorityState.NEXT, created_at=NOW + 1))
    with pytest.raises(AlreadyExistsError, match="user-ssh/next"):
        await db.write(authorities.insert, row=authority("ca-3", state=AuthorityState.NEXT))
    promoted = await db.write(authorities.promote_next, purpose="user-ssh", now=NOW + 2)
    assert (promoted.id, promoted.state, promoted.updated_at) == ("ca-2", AuthorityState.ACTIVE, NOW + 2)
    states = {row.id: row.state for row in await db.read(authorities.list_all, purpose="user-ssh")}
    assert states == {"ca-1": AuthorityState.RETIRED, "ca-2": AuthorityState.ACTIVE}
    retired = await db.read(authorities.list_all, states=[AuthorityState.RETIRED])
    assert [row.id for row in retired] == ["ca-1"]


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
