# SPDX-License-Identifier: Apache-2.0
"""A program on a terminal of its own, behind a session channel."""

from __future__ import annotations

import os

import attrs
import trio

from mezite.ssh.channel import Channel
from mezite.ssh.process import ProgramIO, Size
from mezite.ssh.spawn import Child, ExitStatus, ProcessSpawner, ProgramSpec
from mezite.ssh.tty_modes import apply_modes, set_size

__all__ = ["PtyProcess", "TerminalRequest"]

#: The kernel hands out at most a page or so at a time.
_READ_BYTES = 32 * 1024
#: After the shell's end: a terminal silent for this long has nothing more to say; background jobs may hold it
#: open.
DRAIN_SECONDS = 0.2
#: And what a chatty background job may still say.
DRAIN_BYTES = 1024 * 1024
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


@attrs.define(eq=False)
class TerminalRequest:
    """What a client asked a terminal to be; the size follows its window until the program starts and
    after.
    """

    term: str
    size: Size
    modes: dict[int, int]


class PtyProcess(ProgramIO):
    """It ends with the program, also when background jobs hold the terminal.

    Closing the terminal hangs up what runs on it. The client's end of input means nothing on a terminal (sshd
    does nothing either).
    """

    def __init__(self, channel: Channel, request: TerminalRequest) -> None:
        super().__init__()
        self._channel = channel
        self._request = request
        self._everything = trio.CancelScope()
        self._reading: trio.CancelScope | None = None
        self._master, self._slave = os.openpty()
        try:
            set_size(self._master, request.size)
            apply_modes(self._slave, request.modes)
            self.name = os.ttyname(self._slave)
            """The terminal's path, for SSH_TTY."""
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Give the terminal back without having run anything; harmless afterwards."""
        for number in (self._master, self._slave):
            if number >= 0:
                os.close(number)
        self._master = self._slave = -1

    def resize(self, size: Size) -> None:
        """The programs on the terminal get SIGWINCH."""
        if self._master >= 0:
            set_size(self._master, size)

    async def run(self, spawner: ProcessSpawner, spec: ProgramSpec) -> ExitStatus:
        """As :meth:`ProgramIO.run <mezite.ssh.process.ProgramIO.run>`."""
        try:
            async with self._program(spawner, spec, (self._slave,)) as child:
                await self._move(child)
                return await child.wait()
        finally:
            self.close()

    async def _move(self, child: Child) -> None:
        os.close(self._slave)
        self._slave = -1
        # The stream owns a copy: resize() goes on using the original until run() ends.
        async with trio.lowlevel.FdStream(os.dup(self._master)) as master, trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, master)
            nursery.start_soon(self._watch_end, child)
            with self._everything:
                nursery.start_soon(self._watch_close)
                await self._copy_output(master, child)
            nursery.cancel_scope.cancel()
        if self._everything.cancelled_caught:
            self.close()

    async def _feed(self, master: trio.lowlevel.FdStream) -> None:
        try:
            while data := await self._channel.receive_some():
                await master.send_all(data)
        except _BROKEN:
            pass

    async def _watch_close(self) -> None:
        await self._channel.peer_closed.wait()
        self._everything.cancel()

    async def _watch_end(self, child: Child) -> None:
        await child.wait_ended()
        if self._reading is not None:
            self._reading.deadline = trio.current_time() + DRAIN_SECONDS

    async def _copy_output(self, master: trio.lowlevel.FdStream, child: Child) -> None:
        drained = 0
        while drained < DRAIN_BYTES:
            data = b""
            with trio.CancelScope() as self._reading:
                if child.ended:
                    self._reading.deadline = trio.current_time() + DRAIN_SECONDS
                try:
                    data = bytes(await master.receive_some(_READ_BYTES))
                except trio.BrokenResourceError:  # EIO: no process has the terminal open any more
                    return
            if not data:
                return
            try:
                await self._channel.send_all(data)
            except _BROKEN:
                return
            if child.ended:
                drained += len(data)
