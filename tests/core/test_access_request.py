# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.access_request import (
    Change,
    PartKind,
    RequestPart,
    RequestState,
    Review,
    WrongStateError,
    change_by,
    next_state,
    state_at,
    withdrawal,
)

PENDING, APPROVED = RequestState.PENDING, RequestState.APPROVED
ENDS = (RequestState.DENIED, RequestState.CANCELLED, RequestState.EXPIRED, RequestState.REVOKED)
# Written by hand once more: the table is what is tested.
LEGAL = {
    PENDING: {
        Change.APPROVE: "approved",
        Change.DENY: "denied",
        Change.CANCEL: "cancelled",
        Change.EXPIRE: "expired",
    },
    APPROVED: {Change.EXPIRE: "expired", Change.REVOKE: "revoked"},
}


@pytest.mark.parametrize(("state", "change"), list(itertools.product(RequestState, Change)))
def test_every_pair(state, change):
    expected = LEGAL.get(state, {}).get(change)
    if expected is not None:
        assert next_state(state, change).value == expected
        return
    with pytest.raises(WrongStateError, match=f"is {state.value} cannot be changed by {change.value}"):
        next_state(state, change)


@pytest.mark.parametrize("state", RequestState)
def test_giving_up(state):
    if state in ENDS:
        with pytest.raises(WrongStateError):
            withdrawal(state)
    else:
        assert withdrawal(state) is {PENDING: Change.CANCEL, APPROVED: Change.REVOKE}[state]


@pytest.mark.parametrize("state", RequestState)
def test_time_ends_what_has_not_ended(state):
    assert state_at(state, ends_at=100, now=99) is state
    late = RequestState.EXPIRED if state in (PENDING, APPROVED) else state
    assert state_at(state, ends_at=100, now=100) is late


def test_parts_as_text():
    assert str(RequestPart(PartKind.ROLE, "ssh-production")) == "role:ssh-production"
    assert str(RequestPart(PartKind.NODE, "db-1")) == "node:db-1"


def review(reviewer, *parts, approves=True):
    return Review(reviewer=reviewer, approves=approves, parts=parts)


@pytest.mark.parametrize(
    ("needed", "reviews", "expected"),
    [
        ({"role:a": 1}, [], None),
        ({"role:a": 1}, [review("bob", "role:a")], Change.APPROVE),
        ({"role:a": 2}, [review("bob", "role:a")], None),
        ({"role:a": 2}, [review("bob", "role:a"), review("bob", "role:a")], None),
        ({"role:a": 2}, [review("bob", "role:a"), review("eve", "role:a")], Change.APPROVE),
        # Each part needs its own.
        ({"role:a": 1, "node:n": 1}, [review("bob", "role:a")], None),
        ({"role:a": 1, "node:n": 1}, [review("bob", "role:a"), review("eve", "node:n")], Change.APPROVE),
        ({"role:a": 1, "node:n": 1}, [review("bob", "role:a", "node:n")], Change.APPROVE),
        # Approvals of something else count for nothing.
        ({"role:a": 1}, [review("bob", "role:b"), review("eve")], None),
        # One denial is enough, unless it is by somebody who may review no part.
        (
            {"role:a": 1},
            [review("bob", "role:a"), review("eve", "role:a", approves=False)],
            Change.DENY,
        ),
        ({"role:a": 1}, [review("eve", approves=False)], None),
        # Nothing needs at least one, and nothing at all is never approved.
        ({"role:a": 0}, [], None),
        ({"role:a": 0}, [review("bob", "role:a")], Change.APPROVE),
        ({}, [review("bob", "role:a")], None),
    ],
)
def test_what_reviews_make_of_a_request(needed, reviews, expected):
    assert change_by(needed, reviews) is expected


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 3)),
    st.lists(
        st.builds(
            Review,
            reviewer=st.sampled_from("uvwx"),
            approves=st.booleans(),
            parts=st.sets(st.sampled_from("abc")),
        ),
        unique_by=lambda review: review.reviewer,
    ),
)
def test_no_part_is_approved_by_fewer_than_it_needs(needed, reviews):
    """Threat E18: counted once more, the slow way."""
    change = change_by(needed, reviews)
    denials = [each for each in reviews if not each.approves and each.parts]
    assert (change is Change.DENY) == bool(denials)
    enough = [
        sum(1 for each in reviews if each.approves and part in each.parts) >= count
        for part, count in needed.items()
    ]
    assert (change is Change.APPROVE) == (bool(enough) and all(enough) and not denials)
