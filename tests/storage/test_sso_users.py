# SPDX-License-Identifier: Apache-2.0
"""First logins of one person at the same time, on both databases (threat E10)."""

import trio

from mezite.core.oidc.claim_mapping import MappedUser
from mezite.services.sso.identity_providers import Proven
from mezite.services.sso.users import SsoUserRefusedError, sign_in

NOW = 1_790_000_000_000


def proven(subject):
    return Proven(issuer="https://login.example.com", subject=subject, claims={})


async def test_one_person_is_made_once(db):
    found = []
    mapped = MappedUser(name="alice", roles=("access",), traits={})

    async def enter():
        signed_in = await db.write(sign_in, connector="idp", proven=proven("1"), mapped=mapped, now=NOW)
        found.append((signed_in.user.name, signed_in.created))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(enter)
    assert sorted(found) == [("alice", False)] * 9 + [("alice", True)]


async def test_two_people_of_one_name(db):
    found = []
    mapped = MappedUser(name="alice", roles=("access",), traits={})

    async def enter(subject):
        try:
            await db.write(sign_in, connector="idp", proven=proven(subject), mapped=mapped, now=NOW)
        except SsoUserRefusedError as refused:
            found.append(str(refused))

    async with trio.open_nursery() as nursery:
        for subject in ("1", "2", "3"):
            nursery.start_soon(enter, subject)
    assert len(found) == 2
    assert all("the name alice belongs to another user here" in each for each in found)
