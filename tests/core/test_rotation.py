# SPDX-License-Identifier: Apache-2.0
"""Every step from every set of keys, and that no step ever takes a key away from those who need it (threat F5)."""

import itertools

import attrs
import pytest

from mezite.core.rotation import (
    MARGIN_MS,
    MOST_RETIRED,
    AuthorityState,
    KeyFacts,
    KeySet,
    Policy,
    RotationRefusedError,
    Step,
    activate,
    automatic,
    begin,
    drop,
    forced,
    publish,
    roll_back,
    trusted_until,
    wants_activation,
    wants_key,
)

ACTIVE, NEXT, RETIRED = AuthorityState.ACTIVE, AuthorityState.NEXT, AuthorityState.RETIRED
NOW = 1_800_000_000_000
DAY = 86_400_000
POLICY = Policy(signs_for_ms=DAY)
FOR_EVER = Policy(signs_for_ms=None)
AHEAD = Policy(signs_for_ms=60_000, always_ahead=True)


def key(key_id, state, created=0, *, requested=False, retired=None):
    return KeyFacts(key_id=key_id, state=state, created_at=created, requested=requested, retired_at=retired)


ONE = KeySet((key("a", ACTIVE),))
PUBLISHED = KeySet((key("a", ACTIVE), key("b", NEXT, NOW, requested=True)))
STANDING = KeySet((key("a", ACTIVE), key("b", NEXT, NOW)))
OVERLAP = KeySet((key("a", RETIRED, retired=NOW), key("b", ACTIVE, NOW)))


def states(keys):
    return {one.key_id: one.state for one in keys.keys}


@pytest.mark.parametrize(
    "keys",
    [
        (),
        (key("a", NEXT),),
        (key("a", ACTIVE), key("b", ACTIVE)),
        (key("a", ACTIVE), key("b", NEXT), key("c", NEXT)),
        (key("a", ACTIVE), key("b", RETIRED)),
    ],
)
def test_what_no_step_leads_to_is_no_set(keys):
    with pytest.raises(ValueError, match=r"one active key|since when"):
        KeySet(keys)


def test_a_rotation_from_end_to_end():
    published = begin(ONE, POLICY, "b", NOW)
    assert (published.step, published.key_ids, published.former_key_id) == (Step.PUBLISHED, ("b",), "")
    assert published.after == KeySet((key("a", ACTIVE), key("b", NEXT, NOW, requested=True)))
    activated = activate(published.after, NOW + 5)
    assert (activated.step, activated.key_ids, activated.former_key_id) == (Step.ACTIVATED, ("b",), "a")
    assert activated.after.active == key("b", ACTIVE, NOW)
    assert activated.after.retired == (key("a", RETIRED, retired=NOW + 5),)
    assert activated.after.upcoming is None
    end = NOW + 5 + DAY + MARGIN_MS
    dropped = drop(activated.after, POLICY, end)
    assert (dropped.step, dropped.key_ids, dropped.after) == (
        Step.DROPPED,
        ("a",),
        KeySet((key("b", ACTIVE, NOW),)),
    )


def test_a_former_key_is_trusted_to_the_last_moment():
    (old,) = OVERLAP.retired
    end = NOW + DAY + MARGIN_MS
    assert trusted_until(old, POLICY) == end
    assert automatic(OVERLAP, POLICY, end - 1, is_ready=True) is None
    with pytest.raises(RotationRefusedError, match="no former key"):
        drop(OVERLAP, POLICY, end - 1)
    assert automatic(OVERLAP, POLICY, end, is_ready=False).key_ids == ("a",)
    assert trusted_until(old, FOR_EVER) is None
    assert trusted_until(OVERLAP.active, POLICY) is None


def test_only_those_that_have_run_out_are_dropped():
    keys = OVERLAP.with_key(key("z", RETIRED, retired=NOW + 1))
    transition = automatic(keys, POLICY, NOW + DAY + MARGIN_MS, is_ready=False)
    assert transition.key_ids == ("a",)
    assert states(transition.after) == {"b": ACTIVE, "z": RETIRED}
    assert drop(keys, POLICY, NOW, force=True).key_ids == ("z", "a")


def test_what_is_checked_for_ever_is_never_dropped():
    assert automatic(OVERLAP, FOR_EVER, NOW * 2, is_ready=True) is None
    with pytest.raises(RotationRefusedError):
        drop(OVERLAP, FOR_EVER, NOW * 2, force=True)


@pytest.mark.parametrize(
    ("keys", "is_ready", "happens"),
    [(ONE, True, False), (PUBLISHED, False, False), (PUBLISHED, True, True), (STANDING, True, False)],
)
def test_a_key_becomes_active_when_asked_for_and_ready(keys, is_ready, happens):
    transition = automatic(keys, POLICY, NOW, is_ready=is_ready)
    assert (transition is not None) is happens
    if happens:
        assert transition == activate(keys, NOW)


PERIODIC = Policy(signs_for_ms=60_000, always_ahead=True, rotates_every_ms=42 * DAY, kept_ms=7 * DAY)


@pytest.mark.parametrize(
    ("keys", "policy", "at", "wanted"),
    [
        (ONE, PERIODIC, NOW + 1000 * DAY, False),
        (STANDING, AHEAD, NOW + 1000 * DAY, False),
        (STANDING, PERIODIC, NOW + 42 * DAY - 1, False),
        (STANDING, PERIODIC, NOW + 42 * DAY, True),
        (PUBLISHED, PERIODIC, NOW, True),
        (PUBLISHED, POLICY, NOW, True),
    ],
)
def test_a_key_whose_time_has_come_becomes_active_unasked(keys, policy, at, wanted):
    assert wants_activation(keys, policy, at) is wanted
    assert automatic(keys, policy, at, is_ready=False) is None
    assert automatic(keys, policy, at, is_ready=True) == (activate(keys, at) if wanted else None)


def test_a_former_key_stays_as_long_as_it_is_to_be_kept():
    (old,) = OVERLAP.retired
    assert trusted_until(old, PERIODIC) == NOW + 7 * DAY
    assert trusted_until(old, attrs.evolve(PERIODIC, signs_for_ms=8 * DAY)) == NOW + 8 * DAY + MARGIN_MS
    assert automatic(OVERLAP, PERIODIC, NOW + 7 * DAY - 1, is_ready=True) is None
    assert automatic(OVERLAP, PERIODIC, NOW + 7 * DAY, is_ready=True).step is Step.DROPPED


def test_nothing_becomes_active_without_having_been_published():
    with pytest.raises(RotationRefusedError, match="begin a rotation first"):
        activate(ONE, NOW)


def test_a_second_rotation_waits_for_the_first():
    with pytest.raises(RotationRefusedError, match="under way"):
        begin(PUBLISHED, POLICY, "c", NOW)
    for keys in (PUBLISHED, STANDING):
        with pytest.raises(RotationRefusedError, match="under way"):
            publish(keys, "c", NOW, requested=False)
    assert begin(OVERLAP, POLICY, "c", NOW).step is Step.PUBLISHED


def test_a_key_that_is_ahead_is_used_instead_of_a_fresh_one():
    transition = begin(STANDING, AHEAD, "fresh", NOW + 9)
    assert (transition.step, transition.key_ids) == (Step.REQUESTED, ("b",))
    assert transition.after == PUBLISHED


def with_retired(count):
    keys = ONE
    for number in range(count):
        keys = keys.with_key(key(f"r{number}", RETIRED, retired=NOW + number))
    return keys


def test_there_is_a_limit_to_what_is_trusted():
    with pytest.raises(RotationRefusedError, match="4 former keys"):
        begin(with_retired(MOST_RETIRED), POLICY, "b", NOW)
    assert begin(with_retired(MOST_RETIRED - 1), POLICY, "b", NOW).key_ids == ("b",)
    # Old signatures of these are checked for ever, and nobody carries the keys around.
    assert begin(with_retired(MOST_RETIRED), FOR_EVER, "b", NOW).key_ids == ("b",)


def test_one_is_always_ahead_where_the_purpose_says_so():
    assert wants_key(ONE, AHEAD)
    assert not wants_key(ONE, POLICY)
    assert not wants_key(STANDING, AHEAD)
    transition = publish(ONE, "b", NOW, requested=False)
    assert transition.after.upcoming == key("b", NEXT, NOW)


def test_rolling_back_what_has_signed_nothing():
    transition = roll_back(PUBLISHED, POLICY, NOW)
    assert (transition.step, transition.key_ids, transition.after) == (Step.WITHDRAWN, ("b",), ONE)
    kept = roll_back(PUBLISHED, AHEAD, NOW)
    assert (kept.step, kept.after) == (Step.WITHDRAWN, STANDING)


def test_rolling_back_what_signs_keeps_it_trusted():
    transition = roll_back(OVERLAP, POLICY, NOW + 7)
    assert (transition.step, transition.key_ids, transition.former_key_id) == (Step.RETURNED, ("a",), "b")
    assert transition.after.active == key("a", ACTIVE)
    assert transition.after.retired == (key("b", RETIRED, NOW, retired=NOW + 7),)
    with pytest.raises(RotationRefusedError, match="nothing to roll back"):
        roll_back(transition.after, POLICY, NOW + 8)


def test_the_latest_former_key_is_the_one_to_go_back_to():
    keys = OVERLAP.with_key(key("z", RETIRED, created=1, retired=NOW + 1))
    assert roll_back(keys, POLICY, NOW + 2).key_ids == ("z",)


@pytest.mark.parametrize("keys", [ONE, STANDING])
def test_nothing_to_roll_back(keys):
    with pytest.raises(RotationRefusedError, match="nothing to roll back"):
        roll_back(keys, AHEAD, NOW)


def test_a_key_as_old_as_the_one_that_signs_is_no_former_one():
    keys = KeySet((key("a", RETIRED, created=NOW, retired=NOW), key("b", ACTIVE, NOW)))
    with pytest.raises(RotationRefusedError):
        roll_back(keys, POLICY, NOW)


def test_force_goes_one_step():
    first = forced(ONE, POLICY, "b", NOW)
    assert first == begin(ONE, POLICY, "b", NOW)
    second = forced(first.after, POLICY, "c", NOW)
    assert second == activate(first.after, NOW)
    third = forced(second.after, POLICY, "c", NOW)
    assert (third.step, third.key_ids) == (Step.DROPPED, ("a",))
    assert forced(third.after, POLICY, "c", NOW).key_ids == ("c",)
    assert forced(OVERLAP, FOR_EVER, "c", NOW).step is Step.PUBLISHED
    assert forced(STANDING, AHEAD, "c", NOW).step is Step.REQUESTED


STEPS = {
    "begin": lambda keys, fresh, now: begin(keys, POLICY, fresh, now),
    "ready": lambda keys, _fresh, now: automatic(keys, POLICY, now, is_ready=True),
    "back": lambda keys, _fresh, now: roll_back(keys, POLICY, now),
}


def test_whoever_trusts_the_set_before_a_step_trusts_the_signer_after_it():
    """All walks of six steps, of orders nobody would choose too: the line that keeps a fleet together."""
    walks = 0
    for walk in itertools.product(STEPS, repeat=6):
        keys, now = KeySet((key("a0", ACTIVE),)), NOW
        for number, name in enumerate(walk):
            now += DAY // 3
            trusted = set(states(keys))
            signed_until = {
                one.key_id: one.retired_at + DAY for one in keys.keys if one.retired_at is not None
            }
            try:
                transition = STEPS[name](keys, f"k{number}", now)
            except RotationRefusedError:
                continue
            if transition is None:
                continue
            walks += 1
            assert transition.after.active.key_id in trusted
            for gone in trusted - set(states(transition.after)):
                never_signed = keys.upcoming is not None and gone == keys.upcoming.key_id
                assert never_signed or now >= signed_until[gone]
            keys = transition.after
    assert walks > 1000


def test_a_key_is_replaced_by_its_id():
    changed = attrs.evolve(PUBLISHED.upcoming, requested=False)
    assert PUBLISHED.with_key(changed) == STANDING
    assert PUBLISHED.without({"b"}) == ONE
