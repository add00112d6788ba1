# SPDX-License-Identifier: Apache-2.0
"""What a doctor found: a walk of steps, each of them fine, broken or not reached, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import attrs

__all__ = ["Finding", "Outcome", "StepFailedError", "first_broken"]


class Outcome(enum.Enum):
    """How a step ended."""

    OK = "ok"
    FAILED = "failed"
    SKIPPED = "skipped"
    """It could not be tried, or there is nothing to try."""


class StepFailedError(Exception):
    """A step found what is wrong: `why`, and a `hint` what to do about it."""

    def __init__(self, why: str, hint: str) -> None:
        super().__init__(f"{why}; {hint}")
        self.why = why
        self.hint = hint


@attrs.frozen(kw_only=True)
class Finding:
    """What one step found."""

    step: str
    """``hop: what``, such as ``tunnel: TCP``."""
    outcome: Outcome
    milliseconds: float | None = None
    """How long the step took; None when it was skipped."""
    detail: str = ""
    """What was seen, why it failed, or why it was skipped. May hold text of a peer."""
    remedy: str = ""
    """What to do; empty unless the step failed."""


def first_broken(findings: Iterable[Finding]) -> Finding | None:
    """Return the first step that failed: what comes behind it may only be its consequence."""
    return next((finding for finding in findings if finding.outcome is Outcome.FAILED), None)
