# SPDX-License-Identifier: Apache-2.0
"""Points in time as text: RFC 3339 in UTC with milliseconds, as every listing, event and message shows them.

The clock is never read here; callers pass what they read.
"""

import datetime
import re

__all__ = ["format_seconds", "format_timestamp", "parse_timestamp"]

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
MAX_MILLISECONDS = 253_402_300_799_999
"""The last millisecond of the year 9999: RFC 3339 has four digits for the year."""

RFC3339 = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def format_timestamp(milliseconds: int) -> str:
    """Milliseconds since 1970 as ``2026-11-23T13:27:10.042Z``.

    Raises ValueError outside 1970..9999.
    """
    if not 0 <= milliseconds <= MAX_MILLISECONDS:
        raise ValueError(f"{milliseconds} ms since 1970 is outside the years 1970 to 9999")
    moment = EPOCH + datetime.timedelta(milliseconds=milliseconds)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"


def format_seconds(seconds: int) -> str:
    """Whole seconds since 1970 as ``2026-11-23T13:27:10Z``; far values are clamped, for use in messages."""
    clamped = min(max(seconds, 0), MAX_MILLISECONDS // 1000)
    return format_timestamp(clamped * 1000).removesuffix(".000Z") + "Z"


def parse_timestamp(text: str) -> int:
    """Milliseconds since 1970 of an RFC 3339 time in any offset; finer digits are cut off.

    Raises ValueError: not RFC 3339 (a time without ``Z`` or offset is refused rather than guessed), no such
    day or hour, a leap second, or before 1970.
    """
    match = RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not an RFC 3339 time such as 2026-11-23T13:27:10Z")
    year, month, day, hour, minute, second, fraction, sign, offset_hours, offset_minutes = match.groups()
    try:
        moment = datetime.datetime(
            int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=datetime.UTC
        )
    except ValueError as error:
        raise ValueError(f"{text!r} is not a time: {error}") from None
    milliseconds = (moment - EPOCH) // datetime.timedelta(milliseconds=1) + int(
        (fraction or "").ljust(3, "0")[:3]
    )
    if sign is not None:
        if int(offset_hours) > 23 or int(offset_minutes) > 59:
            raise ValueError(f"{text!r} has no such offset from UTC")
        offset = (int(offset_hours) * 60 + int(offset_minutes)) * 60_000
        milliseconds += offset if sign == "-" else -offset
    if not 0 <= milliseconds <= MAX_MILLISECONDS:
        raise ValueError(f"{text!r} is outside the years 1970 to 9999")
    return milliseconds
