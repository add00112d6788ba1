# SPDX-License-Identifier: Apache-2.0
"""What a lock is on, and finding it (threat E14)."""

import pytest

from mezite.core.rbac.locks import NO_LOCKS, Lock, LockSet, LockTarget


def lock(target, name, lock_id="l-1"):
    return Lock(id=lock_id, target=target, name=name, message="lost laptop")


@pytest.mark.parametrize("target", LockTarget)
def test_each_kind_is_found_by_its_own_subject_alone(target):
    made = lock(target, "x")
    locks = LockSet([made])
    for kind in LockTarget:
        assert locks.find([(kind, "x")]) == (made if kind is target else None)
    assert locks.find([(target, "X"), (target, "x "), (target, "")]) is None
    assert locks.locked_names(target) == {"x"}


def test_the_first_subject_that_has_one():
    user, role = lock(LockTarget.USER, "alice"), lock(LockTarget.ROLE, "dev", "l-2")
    locks = LockSet([role, user])
    assert locks.find([(LockTarget.USER, "alice"), (LockTarget.ROLE, "dev")]) == user
    assert locks.find([(LockTarget.ROLE, "dev"), (LockTarget.USER, "alice")]) == role
    assert locks.find([(LockTarget.USER, "bob"), (LockTarget.ROLE, "dev")]) == role
    assert len(locks) == 2


def test_the_first_lock_on_a_thing_speaks():
    first, second = lock(LockTarget.NODE, "db-1", "l-1"), lock(LockTarget.NODE, "db-1", "l-2")
    assert LockSet([first, second]).find([(LockTarget.NODE, "db-1")]) is first


def test_without_locks():
    assert len(NO_LOCKS) == 0
    assert NO_LOCKS.find([(LockTarget.USER, "alice")]) is None
    assert NO_LOCKS.locked_names(LockTarget.LOGIN) == frozenset()


def test_the_reason_has_everything():
    assert lock(LockTarget.USER, "alice").reason == "user alice is locked (lock l-1): lost laptop"
