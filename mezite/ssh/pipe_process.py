# SPDX-License-Identifier: Apache-2.0
"""A program without a terminal: three pipes between it and a session channel."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Awaitable, Callable

import trio
from trio.lowlevel import FdStream

from mezite.ssh import messages
from mezite.ssh.channel import Channel
from mezite.ssh.process import ProgramIO
from mezite.ssh.spawn import Child, ExitStatus, ProcessSpawner, ProgramSpec

__all__ = ["READ_BYTES", "PipeProcess"]

#: A whole number of the largest data messages, so that no read ends in a small one: twice the packets cost a
#: third of the throughput.
READ_BYTES = 4 * 32 * 1024
#: Room for two reads, so that the program fills one while the other is sent.
PIPE_BYTES = 256 * 1024
_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


class PipeProcess(ProgramIO):
    """It ends when the program has ended **and** its output is at its end, as
    with sshd: a background process that holds the pipes keeps the session.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel
        self._output = trio.CancelScope()

    def stop_output(self) -> None:
        """As for the base; the program gets SIGPIPE when it writes on."""
        self._output.cancel()

    async def run(self, spawner: ProcessSpawner, spec: ProgramSpec) -> ExitStatus:
        """As :meth:`ProgramIO.run <mezite.ssh.process.ProgramIO.run>`."""
        async with contextlib.AsyncExitStack() as ours:
            with contextlib.ExitStack() as theirs:
                stdin_out, stdin_in = _open_pipe()
                theirs.callback(os.close, stdin_out)
                stdin = await ours.enter_async_context(FdStream(stdin_in))
                stdout, stdout_in = await _output_pipe(ours, theirs)
                stderr, stderr_in = await _output_pipe(ours, theirs)
                descriptors = (stdin_out, stdout_in, stderr_in)
                child = await ours.enter_async_context(self._program(spawner, spec, descriptors))
            await self._move(child, (stdin, stdout, stderr))
            return await child.wait()

    async def _move(self, child: Child, streams: tuple[FdStream, FdStream, FdStream]) -> None:
        stdin, stdout, stderr = streams
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, stdin)
            nursery.start_soon(self._watch_close)
            with self._output:
                async with trio.open_nursery() as output:
                    output.start_soon(_copy, stdout, self._channel.send_all)
                    output.start_soon(_copy, stderr, self._channel.send_stderr)
            await stdout.aclose()
            await stderr.aclose()
            await child.wait_ended()
            nursery.cancel_scope.cancel()

    async def _watch_close(self) -> None:
        await self._channel.peer_closed.wait()
        self._output.cancel()

    async def _feed(self, stdin: FdStream) -> None:
        channel = self._channel
        with contextlib.suppress(*_BROKEN):
            if await self._feed_until_end(stdin):
                return
            # The program has closed its input: say so, and drain, or the client's window stays shut.
            channel.send_request(messages.channel_request(channel.remote_id, "eow@openssh.com"))
            while await channel.receive_some():
                pass

    async def _feed_until_end(self, stdin: FdStream) -> bool:
        """Whether the client ended first."""
        async with stdin:
            while data := await self._channel.receive_some():
                try:
                    await stdin.send_all(data)
                except trio.BrokenResourceError:
                    return False
        return True


async def _copy(source: FdStream, send: Callable[[bytes], Awaitable[None]]) -> None:
    with contextlib.suppress(*_BROKEN):
        async with source:
            while data := await source.receive_some(READ_BYTES):
                await send(data)


def _open_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    # Refused when the user's quota of pipe memory is used up; then it is just slower.
    with contextlib.suppress(OSError):
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    return reading, writing


async def _output_pipe(ours: contextlib.AsyncExitStack, theirs: contextlib.ExitStack) -> tuple[FdStream, int]:
    reading, writing = _open_pipe()
    theirs.callback(os.close, writing)
    return await ours.enter_async_context(FdStream(reading)), writing
