# SPDX-License-Identifier: Apache-2.0
"""Raise instead of queueing where two tasks must never meet."""

from __future__ import annotations

from types import TracebackType

import trio

__all__ = ["ConflictDetector"]


class ConflictDetector:
    """A context manager that may be entered by one task at a time.

    A second entry raises :exc:`trio.BusyResourceError` with the given message: two senders on one stream
    are a bug in the caller, and a queue would only hide it by interleaving their data.
    """

    __slots__ = ("_held", "_message")

    def __init__(self, message: str) -> None:
        self._message = message
        self._held = False

    @property
    def held(self) -> bool:
        """Whether some task is inside now."""
        return self._held

    def __enter__(self) -> None:
        if self._held:
            raise trio.BusyResourceError(self._message)
        self._held = True

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._held = False
