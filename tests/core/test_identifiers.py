# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.identifiers import uuid7


def test_rfc_9562_example() -> None:
    # RFC 9562 appendix A.6: unix_ts_ms 0x017F22E279B0, rand_a 0xCC3, rand_b 0x18C4DC0C0C07398F
    random = bytes.fromhex("0cc318c4dc0c0c07398f")
    assert uuid7(0x017F22E279B0, random) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.integers(0, (1 << 48) - 1), st.binary(min_size=10, max_size=10))
def test_version_variant_and_time(timestamp_ms: int, random: bytes) -> None:
    value = uuid.UUID(uuid7(timestamp_ms, random))
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert value.int >> 80 == timestamp_ms


@given(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 40)), st.binary(min_size=10, max_size=10))
def test_sorts_by_time(times: tuple[int, int], random: bytes) -> None:
    low, high = sorted(times)
    if low != high:
        assert uuid7(low, random) < uuid7(high, random)


@pytest.mark.parametrize("timestamp_ms", [-1, 1 << 48])
def test_refuses_a_time_that_does_not_fit(timestamp_ms: int) -> None:
    with pytest.raises(ValueError, match="48 bits"):
        uuid7(timestamp_ms, bytes(10))


def test_refuses_the_wrong_amount_of_randomness() -> None:
    with pytest.raises(ValueError, match="10 random bytes, not 9"):
        uuid7(0, bytes(9))
