# SPDX-License-Identifier: Apache-2.0
"""Lengths of time as users type and read them: ``90s``, ``30m``, ``12h``, ``1h30m``, ``7d``."""

import re

__all__ = ["MAX_DURATION_SECONDS", "format_duration", "parse_duration"]

UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
PARTS = re.compile(r"(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)

MAX_DURATION_SECONDS = 100 * 365 * 86_400
"""A century: what is longer is a typing error, and stays far inside every integer we store."""


def parse_duration(text: str) -> int:
    """Seconds of ``text``: whole numbers with units d, h, m, s, largest first, each at most once.

    ``0s`` is zero. Raises ValueError: empty, no unit, unknown unit, wrong order, more than a century.
    """
    match = PARTS.fullmatch(text)
    if match is None or not text:
        hint = f"; did you mean {text}s?" if text.isascii() and text.isdigit() else ""
        raise ValueError(f"{text!r} is not a duration such as 90s, 30m, 12h or 1h30m{hint}")
    amounts = zip(match.groups(), UNITS.values(), strict=True)
    seconds = sum(int(amount) * unit for amount, unit in amounts if amount is not None)
    if seconds > MAX_DURATION_SECONDS:
        raise ValueError(f"{text!r} is longer than a century")
    return seconds


def format_duration(seconds: int) -> str:
    """``5400`` as ``1h30m``; parse_duration gives the number back. Raises ValueError: negative."""
    if seconds < 0:
        raise ValueError(f"a duration of {seconds} s is negative")
    rest, parts = seconds, []
    for unit, size in UNITS.items():
        amount, rest = divmod(rest, size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"
