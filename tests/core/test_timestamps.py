# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.timestamps import MAX_MILLISECONDS, format_seconds, format_timestamp, parse_timestamp


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_440_430_042, "2026-11-23T13:27:10.042Z"),
        (MAX_MILLISECONDS, "9999-12-31T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
    ],
)
def test_milliseconds_are_written_in_utc(milliseconds, text):
    assert format_timestamp(milliseconds) == text
    assert parse_timestamp(text) == milliseconds


@pytest.mark.parametrize("milliseconds", [-1, MAX_MILLISECONDS + 1])
def test_times_that_have_no_text_are_refused(milliseconds):
    with pytest.raises(ValueError, match="outside the years"):
        format_timestamp(milliseconds)


def test_seconds_are_clamped_for_messages():
    assert format_seconds(1_795_440_430) == "2026-11-23T13:27:10Z"
    assert format_seconds(-5) == "1970-01-01T00:00:00Z"
    assert format_seconds(2**64 - 1) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("2026-11-23T14:27:10+01:00", "2026-11-23T13:27:10.000Z"),
        ("2026-11-23T12:57:10.5-00:30", "2026-11-23T13:27:10.500Z"),
        ("2026-11-23t13:27:10.123456789z", "2026-11-23T13:27:10.123Z"),
    ],
)
def test_offsets_and_fractions_are_read(text, same):
    assert format_timestamp(parse_timestamp(text)) == same


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("2026-11-23", "not an RFC 3339 time"),
        ("2026-11-23T13:27:10", "not an RFC 3339 time"),
        ("2026-11-23 13:27:10Z", "not an RFC 3339 time"),
        ("2026-11-23T13:27:10Z\n", "not an RFC 3339 time"),
        ("٢٠٢٦-11-23T13:27:10Z", "not an RFC 3339 time"),
        ("2026-02-30T00:00:00Z", "is not a time"),
        ("2016-12-31T23:59:60Z", "is not a time"),
        ("0000-01-01T00:00:00Z", "is not a time"),
        ("2026-11-23T13:27:10+24:00", "no such offset"),
        ("2026-11-23T13:27:10+00:60", "no such offset"),
        ("1969-12-31T23:59:59Z", "outside the years"),
        ("9999-12-31T23:59:59-00:01", "outside the years"),
    ],
)
def test_everything_else_is_refused(text, why):
    with pytest.raises(ValueError, match=why):
        parse_timestamp(text)


@given(st.integers(0, MAX_MILLISECONDS))
def test_what_is_written_reads_back(milliseconds):
    assert parse_timestamp(format_timestamp(milliseconds)) == milliseconds


@given(st.integers(0, MAX_MILLISECONDS), st.integers(0, MAX_MILLISECONDS))
def test_text_sorts_like_time(first, second):
    assert (first < second) == (format_timestamp(first) < format_timestamp(second))
