# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
import trio

from mezite.core.access_request import Change, RequestState, WrongStateError
from mezite.storage import access_requests, users
from mezite.storage.access_requests import AccessRequestRow, ReviewRow
from mezite.storage.errors import ConstraintError
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
HOUR = 3_600_000
RACERS = 50


def request(number=1, **changes):
    row = AccessRequestRow(
        request_id=f"request-{number}",
        user_name="alice",
        roles=("ssh-production",),
        nodes=("db-1",),
        reason="incident 4711",
        ttl_seconds=3600,
        created_at=NOW + number,
        ends_at=NOW + 24 * HOUR,
    )
    return attrs.evolve(row, **changes)


def review(reviewer, *, approves=True, number=1):
    return ReviewRow(
        request_id=f"request-{number}",
        reviewer=reviewer,
        approves=approves,
        parts=("role:ssh-production",),
        reason="",
        reviewed_at=NOW,
    )


@pytest.fixture
async def people(db):
    for name in ("alice", "bob"):
        await db.write(users.insert, user=NewUser(name=name), now=NOW)
    return db


async def test_kept_as_made_and_gone_with_the_user(people):
    row = await people.write(access_requests.insert, request=request())
    assert row == request() == await people.read(access_requests.get, request_id="request-1")
    assert await people.write(access_requests.add_review, review=review("bob"))
    await people.write(users.delete, name="alice")
    assert await people.read(access_requests.get, request_id="request-1") is None
    assert await people.read(access_requests.list_reviews, request_ids=["request-1"]) == []


async def test_of_nobody(people):
    with pytest.raises(ConstraintError):
        await people.write(access_requests.insert, request=request(user_name="eve"))


async def test_made_twice(people):
    await people.write(access_requests.insert, request=request())
    with pytest.raises(AssertionError, match="twice"):
        await people.write(access_requests.insert, request=request())


async def test_lists(people):
    rows = [
        request(1),
        request(2, user_name="bob"),
        request(3, state=RequestState.APPROVED),
        request(4, state=RequestState.DENIED),
        request(5, ends_at=NOW),
    ]
    for row in rows:
        await people.write(access_requests.insert, request=row)

    async def ids(**wanted):
        return [row.request_id[-1] for row in await people.read(access_requests.list_all, **wanted)]

    assert await ids() == ["5", "4", "3", "2", "1"]
    assert await ids(limit=2) == ["5", "4"]
    assert await ids(user_name="bob") == ["2"]
    assert await ids(user_name="alice", state=RequestState.PENDING) == ["5", "1"]
    many = await people.read(access_requests.get_many, request_ids=["request-3", "request-1", "no"])
    assert [row.request_id for row in many] == ["request-1", "request-3"]
    assert await people.read(access_requests.get_many, request_ids=[]) == []
    assert await people.read(access_requests.list_reviews, request_ids=[]) == []
    # Neither the denied one nor the one that is late.
    assert await people.read(access_requests.count_live, user_name="alice", now=NOW) == 2


async def test_one_review_of_each_reviewer(people):
    await people.write(access_requests.insert, request=request())
    assert await people.write(access_requests.add_review, review=review("bob"))
    assert not await people.write(access_requests.add_review, review=review("bob", approves=False))
    assert await people.read(access_requests.list_reviews, request_ids=["request-1"]) == [review("bob")]


async def race(people, attempt):
    """What each of many concurrent transactions got."""
    results = []

    async def one(number):
        results.append(await people.write(attempt, number))

    async with trio.open_nursery() as nursery:
        for number in range(RACERS):
            nursery.start_soon(one, number)
    return results


async def test_reviewers_at_once_are_counted_one_by_one(people):
    """Threat E10: the reviewer whose approval is the second sees two, whoever comes at the same time."""
    await people.write(access_requests.insert, request=request())

    def attempt(conn, number):
        row = access_requests.count_review(conn, request_id="request-1", now=NOW)
        if row is None:
            return None
        access_requests.add_review(conn, review=review(f"reviewer-{number % (RACERS // 2)}"))
        seen = len(access_requests.list_reviews(conn, request_ids=["request-1"]))
        if seen == 2:
            access_requests.approve(conn, request_id="request-1", ends_at=NOW + HOUR, now=NOW)
        return seen

    results = await race(people, attempt)
    # Some alone (a reviewer may come twice), one whose review was the second; nobody after that.
    assert set(results) <= {1, 2, None}
    assert results.count(2) == 1
    row = await people.read(access_requests.get, request_id="request-1")
    assert (row.state, row.approved_at, row.ends_at) == (RequestState.APPROVED, NOW, NOW + HOUR)


async def test_one_of_many_ends_it(people):
    row = await people.write(access_requests.insert, request=request())

    def attempt(conn, number):
        change = Change.DENY if number % 2 else Change.CANCEL
        return access_requests.apply(conn, row=row, change=change, by=f"u{number}", reason="no", now=NOW)

    winners = [ended for ended in await race(people, attempt) if ended is not None]
    assert len(winners) == 1
    assert winners[0] == await people.read(access_requests.get, request_id="request-1")
    assert winners[0].closing_reason == "no"
    assert winners[0].closed_at == NOW


async def test_what_is_late_cannot_be_changed(people):
    row = await people.write(access_requests.insert, request=request(ends_at=NOW))
    assert await people.write(access_requests.count_review, request_id="request-1", now=NOW) is None
    assert await people.write(access_requests.approve, request_id="request-1", ends_at=9, now=NOW) is None
    ended = {"row": row, "change": Change.CANCEL, "by": "alice", "reason": "", "now": NOW}
    assert await people.write(access_requests.apply, **ended) is None
    with pytest.raises(WrongStateError):
        await people.write(access_requests.apply, **{**ended, "change": Change.REVOKE})


async def test_expiry_is_told_once(people):
    states = [RequestState.PENDING, RequestState.APPROVED, RequestState.DENIED]
    for number, state in enumerate(states, 1):
        await people.write(access_requests.insert, request=request(number, state=state, ends_at=NOW))
    await people.write(access_requests.insert, request=request(4))

    def attempt(conn, _number):
        return access_requests.expire_due(conn, now=NOW)

    told = [row for rows in await race(people, attempt) for row in rows]
    assert sorted(row.request_id for row in told) == ["request-1", "request-2"]
    assert {(row.state, row.closed_at) for row in told} == {(RequestState.EXPIRED, NOW)}
