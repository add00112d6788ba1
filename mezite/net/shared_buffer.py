# SPDX-License-Identifier: Apache-2.0
"""Working memory that all connections of one Trio run share.

A buffer for each connection would cost a quarter MiB per idle agent, and a fresh one for each receive the time to
clear it; one that is always the same stays in the processor's cache. The price is a rule: who takes it must be done
with its content before the next await.
"""

from __future__ import annotations

import trio

__all__ = ["SharedBuffer"]


class SharedBuffer:
    """``size`` bytes for each Trio run; ``name`` is for debuggers."""

    def __init__(self, name: str, size: int) -> None:
        self._buffers: trio.lowlevel.RunVar[bytearray] = trio.lowlevel.RunVar(name)
        self._size = size

    def take(self) -> bytearray:
        """The buffer of this run; its content is anybody's, and after the next await somebody else's."""
        try:
            return self._buffers.get()
        except LookupError:
            buffer = bytearray(self._size)
            self._buffers.set(buffer)
            return buffer
