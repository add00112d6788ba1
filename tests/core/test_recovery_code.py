# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.recovery_code import CODE_BYTES, recovery_code, recovery_code_hash


def test_a_code_is_four_groups():
    assert recovery_code(bytes(CODE_BYTES)) == "aaaa-aaaa-aaaa-aaaa"
    assert recovery_code(bytes(range(CODE_BYTES))) == "aaaq-eaye-auda-ocaj"


@pytest.mark.parametrize("count", [0, CODE_BYTES - 1, CODE_BYTES + 1])
def test_the_randomness_has_one_length(count):
    with pytest.raises(ValueError, match="10 bytes"):
        recovery_code(bytes(count))


@pytest.mark.parametrize("typed", ["AAAQ-EAYE-AUDA-OCAJ", " aaaqeayeaudaocaj\n", "aaaq eaye auda ocaj"])
def test_what_people_get_wrong_does_not_count(typed):
    assert recovery_code_hash("alice", typed) == recovery_code_hash("alice", "aaaq-eaye-auda-ocaj")


def test_a_hash_is_of_one_user_and_one_code():
    """Threat E11: the same code is nothing to another user, and no part of it is a code."""
    code = "aaaq-eaye-auda-ocaj"
    hashes = {
        recovery_code_hash(user, text)
        for user in ("alice", "bob")
        for text in (code, code[:-1], "", "\ud800")
    }
    assert len(hashes) == 8
    assert {len(each) for each in hashes} == {64}
