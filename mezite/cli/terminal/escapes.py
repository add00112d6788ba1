# SPDX-License-Identifier: Apache-2.0
"""Text from elsewhere made safe for a terminal (threat H1)."""

from __future__ import annotations

import re

__all__ = ["escape_controls"]

# C0, DEL and C1 controls start escape sequences; bidirectional and invisible format characters make a name
# look like another; lone surrogates cannot be encoded at all.
_UNSAFE_RANGES = (
    "\x00-\x1f\x7f-\x9f",
    "\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff",
    "\ud800-\udfff",
    "\U000e0000-\U000e007f",
)
_UNSAFE = re.compile(f"[{''.join(_UNSAFE_RANGES)}]")


def escape_controls(text: str) -> str:
    r"""Return ``text`` with every character that a terminal might obey written as ``\xNN`` or ``\uNNNN``."""
    return _UNSAFE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode("ascii")
