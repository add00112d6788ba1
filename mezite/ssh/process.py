# SPDX-License-Identifier: Apache-2.0
"""What programs on pipes and on terminals have in common."""

from __future__ import annotations

import abc
import contextlib
import signal
from collections.abc import AsyncIterator, Sequence

import trio

from mezite.ssh.spawn import Child, ExitStatus, ProcessSpawner, ProgramSpec

__all__ = ["ProgramIO", "Size"]

#: Columns, rows, width and height in pixels.
Size = tuple[int, int, int, int]
#: Between the hang-up and the kill when a connection goes away: editors save their recovery files in it.
HANGUP_SECONDS = 5.0


class ProgramIO(abc.ABC):
    """A program and its bytes. The session makes one, runs it once, and passes requests on."""

    def __init__(self) -> None:
        self._child: Child | None = None
        self._started = trio.Event()

    @abc.abstractmethod
    async def run(self, spawner: ProcessSpawner, spec: ProgramSpec) -> ExitStatus:
        """Start the program, move its bytes, and say how it ended. :exc:`SpawnError` when it cannot be
        started.

        When cancelled the program's process group is hung up, then killed.
        """

    def stop_output(self) -> None:  # noqa: B027 - nothing to do, unless there is
        """The client does not want more output."""

    def resize(self, size: Size) -> None:  # noqa: B027
        """The client's window has changed."""

    async def send_signal(self, number: int) -> None:
        """To the program's process group, as soon as there is one."""
        await self._started.wait()
        assert self._child is not None
        await self._child.send_signal(number)

    @contextlib.asynccontextmanager
    async def _program(
        self, spawner: ProcessSpawner, spec: ProgramSpec, descriptors: Sequence[int]
    ) -> AsyncIterator[Child]:
        """The started program. Its group is ended if the block is left before it has ended: the connection is
        gone.

        sshd leaves programs without a terminal behind. Here a session that was cut off must not go on unseen.
        """
        child = self._child = await spawner.spawn(spec, descriptors)
        self._started.set()
        try:
            yield child
        finally:
            if not child.ended:
                with trio.CancelScope(shield=True):
                    await _end(child)


async def _end(child: Child) -> None:
    await child.send_signal(signal.SIGHUP)
    await child.send_signal(signal.SIGCONT)
    with trio.move_on_after(HANGUP_SECONDS):
        await child.wait_ended()
    if not child.ended:
        await child.send_signal(signal.SIGKILL)
