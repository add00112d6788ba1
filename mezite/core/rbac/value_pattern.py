# SPDX-License-Identifier: Apache-2.0
"""Regular expressions among the values of a selector: ``^…$``, matched against the whole value.

RE2 runs them: its time grows with the length of the value and never with the ambiguity of the pattern, and it
has neither backreferences nor look-around (threats E15, P10). Python's own ``re`` backtracks.
"""

import attrs
import re2

__all__ = ["InvalidPatternError", "ValuePattern", "is_pattern"]

MAX_PATTERN = 256
"""Characters; longer than the longest label value there is."""

MAX_MEMORY = 1 << 20
"""Bytes that RE2 may use for one pattern, its states included. Patterns of the allowed length need a few KiB,
unless repetitions multiply: those are refused.
"""


class InvalidPatternError(ValueError):
    """Not a regular expression that can be run; the message says what is wrong with it."""


def is_pattern(value: str) -> bool:
    """Whether a selector's value is to be read as a regular expression.

    Raises InvalidPatternError: it looks like half of one, and nobody knows which half is meant.
    """
    starts, ends = value.startswith("^"), value.endswith("$")
    if starts and ends:
        return True
    if starts or ends:
        raise InvalidPatternError(
            f"{value!r} is half a regular expression: write ^…$, with a backslash before a sign of the value"
        )
    return False


def compiled(text: str) -> "re2._Regexp":
    if len(text) > MAX_PATTERN:
        raise InvalidPatternError(
            f"a regular expression of {len(text)} characters; {MAX_PATTERN} are allowed"
        )
    options = re2.Options()
    options.max_mem = MAX_MEMORY
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(text[1:-1], options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if isinstance(error, re2.error) else "it is not valid Unicode"
        text_of_reason = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise InvalidPatternError(f"{text!r} is not a regular expression: {text_of_reason}") from None


@attrs.frozen
class ValuePattern:
    """A regular expression, compiled when it is made. Raises InvalidPatternError."""

    text: str
    """As in the role, with ``^`` and ``$``."""
    regexp: "re2._Regexp" = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: compiled(self.text), takes_self=True),
    )

    def matches(self, value: str) -> bool:
        """Whether the whole of ``value`` matches; a value that is not valid Unicode matches nothing."""
        try:
            return self.regexp.fullmatch(value) is not None
        except UnicodeEncodeError:
            return False
