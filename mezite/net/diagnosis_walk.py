# SPDX-License-Identifier: Apache-2.0
"""Walking the steps of a diagnosis, each of them timed and under a deadline."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from mezite.core.diagnosis import Finding, Outcome, StepFailedError

__all__ = ["Probe", "Walk", "nothing_to_do"]

Probe = Callable[[], Awaitable[str]]
"""Tries one thing and returns what it saw; raises what :meth:`Walk.chain` says."""

STEP_SECONDS = 15.0
"""What a connection gets before a program of ours gives up on it: a doctor who waits longer finds nothing new."""


class NothingToDoError(Exception):
    """The step does not apply here; the text says why."""


def nothing_to_do(why: str) -> NothingToDoError:
    """Raise this from a probe that does not apply: the step counts as skipped, those behind it are tried."""
    return NothingToDoError(why)


@attrs.define(eq=False)
class Walk:
    """The findings so far, in the order of the steps."""

    findings: list[Finding] = attrs.Factory(list)
    step_seconds: float = STEP_SECONDS

    async def chain(self, *steps: tuple[str, Probe]) -> bool:
        """Try steps that build upon each other; behind the first that fails the rest is skipped.

        A probe fails by raising :exc:`StepFailedError`, an exception with ``why`` and ``hint`` as those of
        :mod:`mezite.net.dialer`, :exc:`OSError`, or :exc:`trio.BrokenResourceError`; or by taking too long.
        Anything else comes out of here. Returns whether none failed.
        """
        broken = ""
        for name, probe in steps:
            if broken:
                self.skip(name, f"not tried: {broken} failed")
                continue
            if not await self.step(name, probe):
                broken = name
        return not broken

    async def step(self, name: str, probe: Probe) -> bool:
        """Try one step; returns whether it did not fail."""
        begin = trio.current_time()
        why = hint = ""
        try:
            with trio.fail_after(self.step_seconds):
                detail = await probe()
        except NothingToDoError as reason:
            self.skip(name, str(reason))
            return True
        except trio.TooSlowError:
            why, hint = f"no answer within {self.step_seconds:g} s", "check that a firewall lets it through"
        except (OSError, trio.BrokenResourceError) as error:
            why, hint = (
                getattr(error, "strerror", None) or str(error) or "the connection was cut",
                "try again",
            )
        except Exception as error:
            if not isinstance(getattr(error, "why", None), str):
                raise
            why, hint = _cause(error)
        milliseconds = round((trio.current_time() - begin) * 1000, 1)
        if why:
            self.findings.append(
                Finding(step=name, outcome=Outcome.FAILED, milliseconds=milliseconds, detail=why, remedy=hint)
            )
            return False
        self.findings.append(Finding(step=name, outcome=Outcome.OK, milliseconds=milliseconds, detail=detail))
        return True

    def skip(self, name: str, why: str) -> None:
        """Note a step that is not tried."""
        self.findings.append(Finding(step=name, outcome=Outcome.SKIPPED, detail=why))


def _cause(error: Exception) -> tuple[str, str]:
    """Why and what to do, of an exception of ours; the step's name says what failed already."""
    if isinstance(error, StepFailedError):
        return error.why, error.hint
    why = str(getattr(error, "why", "")) or str(getattr(error, "what", "")) or str(error)
    return why, str(getattr(error, "hint", ""))
