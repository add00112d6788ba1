# SPDX-License-Identifier: Apache-2.0
"""The line of a machine's certificates (threats B1, E10, E11)."""

import attrs
import pytest
import trio

from mezite.storage import machine_identities, users
from mezite.storage.errors import AlreadyExistsError, ConstraintError
from mezite.storage.machine_identities import MOST_UNHEARD, MachineRow
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
TOKEN, OTHER = "a" * 64, "b" * 64
CI = MachineRow(
    name="ci",
    max_ttl_seconds=3600,
    token_hash=TOKEN,
    token_expires_at=NOW + 1000,
    created_by="root",
    created_at=NOW,
)


@pytest.fixture
async def machines(db):
    for name in ("ci", "deploy"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    await db.write(machine_identities.insert, machine=CI)
    return db


async def issued(db, shown, serial, now=NOW):
    return await db.write(
        machine_identities.note_issued, name="ci", shown=shown, serial=serial, address="192.0.2.7:1", now=now
    )


async def shown(db, serial):
    return await db.write(machine_identities.show, name="ci", serial=serial)


async def test_one_of_each_name_and_only_with_a_user(machines):
    with pytest.raises(AlreadyExistsError):
        await machines.write(machine_identities.insert, machine=CI)
    with pytest.raises(ConstraintError):
        await machines.write(
            machine_identities.insert, machine=attrs.evolve(CI, name="nobody", token_hash=OTHER)
        )
    assert await machines.read(machine_identities.get, name="ci") == CI
    assert await machines.read(machine_identities.get, name="deploy") is None
    await machines.write(users.delete, name="ci")
    assert await machines.read(machine_identities.get, name="ci") is None


async def test_lists_by_name(machines):
    await machines.write(machine_identities.insert, machine=attrs.evolve(CI, name="deploy", token_hash=None))

    async def names(**wanted):
        return [row.name for row in await machines.read(machine_identities.list_all, **wanted)]

    assert await names() == ["ci", "deploy"]
    assert await names(after="ci") == ["deploy"]
    assert await names(limit=1) == ["ci"]


async def test_a_token_is_found_replaced_and_used_once(machines):
    assert await machines.read(machine_identities.find_by_token, token_hash=TOKEN) == CI
    replaced = await machines.write(
        machine_identities.set_token, name="ci", token_hash=OTHER, expires_at=NOW + 5
    )
    assert (replaced.token_hash, replaced.token_expires_at) == (OTHER, NOW + 5)
    assert await machines.read(machine_identities.find_by_token, token_hash=TOKEN) is None
    assert await machines.write(machine_identities.use_token, token_hash=TOKEN, now=NOW) is None
    assert await machines.write(machine_identities.use_token, token_hash=OTHER, now=NOW + 5) is None
    used = await machines.write(machine_identities.use_token, token_hash=OTHER, now=NOW + 4)
    assert (used.name, used.token_hash, used.token_expires_at) == ("ci", None, None)
    assert await machines.write(machine_identities.use_token, token_hash=OTHER, now=NOW) is None
    absent = await machines.write(
        machine_identities.set_token, name="deploy", token_hash=TOKEN, expires_at=NOW
    )
    assert absent is None
    with pytest.raises(ValueError, match="64"):
        await machines.write(machine_identities.use_token, token_hash="mzt_raw", now=NOW)


async def test_of_many_uses_one_wins_e10(machines):
    results = []

    async def use():
        results.append(await machines.write(machine_identities.use_token, token_hash=TOKEN, now=NOW))

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(use)
    assert len([row for row in results if row is not None]) == 1


async def test_each_certificate_leads_to_the_next(machines):
    row = await issued(machines, None, "10", NOW + 1)
    assert (row.generation, row.serials_issued, row.renewed_at) == (1, ("10",), NOW + 1)
    assert row.renewed_from == "192.0.2.7:1"
    for number in range(11, 15):
        assert (await shown(machines, str(number - 1))).serial_seen == str(number - 1)
        row = await issued(machines, str(number - 1), str(number))
        assert (row.generation, row.serials_issued) == (number - 9, (str(number),))


async def test_an_answer_that_was_lost_is_asked_for_again(machines):
    await issued(machines, None, "10")
    await shown(machines, "10")
    await issued(machines, "10", "11")
    assert (await shown(machines, "10")).serials_issued == ("11",)
    await issued(machines, "10", "12")
    # The first answer may come late and be the one that is kept.
    assert (await shown(machines, "11")).serial_seen == "11"
    assert await shown(machines, "12") is None
    assert await shown(machines, "10") is None
    assert await shown(machines, "11") is not None


@pytest.mark.parametrize("first", ["owner", "thief"])
async def test_a_copy_is_found_whoever_renews_first_b1(machines, first):
    """Both hold 10. Each is issued one of its own line; once one of them has shown its own, the other is a copy."""
    await issued(machines, None, "10")
    held = {"owner": "10", "thief": "10"}
    order = ["owner", "thief"] if first == "owner" else ["thief", "owner"]
    for number, who in enumerate(order, 11):
        assert await shown(machines, held[who]) is not None
        await issued(machines, held[who], str(number))
        held[who] = str(number)
    assert await shown(machines, held[order[0]]) is not None
    assert await shown(machines, held[order[1]]) is None


async def test_two_who_take_turns_are_found_b1(machines):
    """However regular they are: the second to show what it was issued is refused."""
    await issued(machines, None, "10")
    held, serial = {"owner": "10", "thief": "10"}, 10
    for turn in range(4):
        who = ("owner", "thief")[turn % 2]
        if await shown(machines, held[who]) is None:
            break
        serial += 1
        assert await issued(machines, held[who], str(serial)) is not None
        held[who] = str(serial)
    else:
        pytest.fail("both went on")
    assert turn == 3


async def test_what_counts_no_more_is_issued_nothing(machines):
    await issued(machines, None, "10")
    await shown(machines, "10")
    assert await issued(machines, None, "11") is None
    assert await issued(machines, "9", "11") is None
    missing = await machines.write(
        machine_identities.note_issued, name="deploy", shown=None, serial="1", address="", now=NOW
    )
    assert missing is None
    assert await machines.write(machine_identities.show, name="deploy", serial="1") is None


async def test_answers_that_are_lost_are_bounded(machines):
    await issued(machines, None, "10")
    await shown(machines, "10")
    for number in range(11, 12 + MOST_UNHEARD):
        row = await issued(machines, "10", str(number))
    assert len(row.serials_issued) == MOST_UNHEARD
    assert await shown(machines, "11") is None
    assert await shown(machines, str(11 + MOST_UNHEARD)) is not None


async def test_a_new_token_starts_a_new_line(machines):
    await issued(machines, None, "10")
    await shown(machines, "10")
    await issued(machines, "10", "11")
    await machines.write(machine_identities.use_token, token_hash=TOKEN, now=NOW)
    for old in ("10", "11"):
        assert await shown(machines, old) is None
    assert (await issued(machines, None, "20")).generation == 1
    assert await shown(machines, "20") is not None
