# SPDX-License-Identifier: Apache-2.0
"""How often one address may try (threat A11)."""

import pytest
from trio.testing import MockClock

from mezite.core.audit.event_types import EventType
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authentication.source_limit import SecretGuesses, anonymous_calls, wrong_secrets
from mezite.services.errors import TooManyRequestsError

ADDRESS = "198.51.100.9:4000"


async def test_the_text_says_when_to_come_back(mock_clock: MockClock) -> None:
    limit = wrong_secrets("wrong passwords")
    for number in range(30):
        limit.take(f"198.51.100.9:{number}")
    with pytest.raises(
        TooManyRequestsError, match="too many wrong passwords from this address: try again in 6 s"
    ) as no:
        limit.take(ADDRESS)
    assert no.value.retry_after == 6
    limit.take("198.51.100.10:1")
    mock_clock.jump(6)
    limit.take(ADDRESS)
    with pytest.raises(TooManyRequestsError):
        limit.take(ADDRESS)


async def test_an_ipv6_customer_is_one_source(mock_clock: MockClock) -> None:
    limit = wrong_secrets("wrong passwords")
    for number in range(30):
        limit.take(f"[2001:db8::{number:x}]:1")
    with pytest.raises(TooManyRequestsError):
        limit.take("[2001:db8::ffff]:1")
    limit.take("[2001:db8:0:1::1]:1")


async def test_a_rack_may_call_at_once(mock_clock: MockClock) -> None:
    limit = anonymous_calls()
    for _ in range(200):
        limit.take(ADDRESS)
    with pytest.raises(TooManyRequestsError) as no:
        limit.take(ADDRESS)
    assert no.value.retry_after == 1
    mock_clock.jump(1)
    for _ in range(50):
        limit.take(ADDRESS)


async def test_right_secrets_cost_nothing_and_wrong_ones_are_counted(world, mock_clock: MockClock) -> None:
    refusals = RefusalLog(world.audit)
    guesses = SecretGuesses("wrong tokens", EventType.ACCESS_DENIED, refusals)
    for _ in range(100):
        guesses.count(ADDRESS)
        guesses.was_right(ADDRESS)
    for _ in range(30):
        guesses.count(ADDRESS)
    for _ in range(3):
        with pytest.raises(TooManyRequestsError, match="wrong tokens"):
            guesses.count(ADDRESS)
    assert await guesses.was_wrong(ADDRESS, error_message="no")
    await refusals.summarise()
    first, summary = await world.events("access.denied")
    assert (first["client_ip"], first["success"], first["error_message"]) == ("198.51.100.9", False, "no")
    assert summary["repeated"] == 3
