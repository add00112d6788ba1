# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a configuration, all of it at once."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

__all__ = ["BadValue", "ConfigProblems", "Problem"]


class BadValue(Exception):
    """One value that cannot be used: ``why``, and ``hint``, what to write instead (may be empty)."""

    def __init__(self, why: str, hint: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.hint = hint


@attrs.frozen(kw_only=True)
class Problem:
    """One thing to mend."""

    file: str
    """Path as given by the user, or ``environment``."""
    line: int | None = None
    """Line in ``file`` counted from 1; None where no line applies."""
    key: str = ""
    """Dotted path of the key; empty when the file as a whole is meant."""
    why: str
    hint: str = ""

    def __str__(self) -> str:
        place = self.file if self.line is None else f"{self.file}:{self.line}"
        subject = f"{place}: {self.key}" if self.key else place
        return f"{subject}: {self.why}; {self.hint}" if self.hint else f"{subject}: {self.why}"


class ConfigProblems(Exception):
    """The configuration cannot be used. ``problems`` is never empty and is in reading order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(
            problems, key=lambda problem: (problem.file == "environment", problem.line or 0)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))
