# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.durations import MAX_DURATION_SECONDS, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("30m", 1800),
        ("12h", 43_200),
        ("1h30m", 5400),
        ("0s", 0),
        ("7d", 604_800),
        ("1d1h1m1s", 90_061),
    ],
)
def test_what_the_contract_shows(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "10", "s", "1.5h", "-1s", "+1s", "1_0s", "1s1m", "1h1h", " 1s", "1s\n", "1S", "٣s", "1000000000s"],
)
def test_other_text_is_refused_with_an_example(text):
    """P21: ASCII digits, and not many of them."""
    with pytest.raises(ValueError, match="such as 90s"):
        parse_duration(text)


def test_a_bare_number_gets_a_hint():
    with pytest.raises(ValueError, match=r"did you mean 10s\?"):
        parse_duration("10")


def test_a_century_is_the_end():
    assert parse_duration("36500d") == MAX_DURATION_SECONDS
    with pytest.raises(ValueError, match="century"):
        parse_duration("36500d1s")


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (5400, "1h30m"), (90, "1m30s"), (86_400, "1d")])
def test_durations_are_written_with_the_largest_units(seconds, text):
    assert format_duration(seconds) == text


def test_there_is_no_negative_duration():
    with pytest.raises(ValueError, match="negative"):
        format_duration(-1)


@given(st.integers(0, MAX_DURATION_SECONDS))
def test_what_is_written_reads_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds
