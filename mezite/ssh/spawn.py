# SPDX-License-Identifier: Apache-2.0
"""Users' programs, started by a helper process (see :mod:`mezite.ssh.child`) and watched from Trio.

Why a helper that lives as long as the agent: subprocess.Popen with another user forks the agent's whole process
(every fork of a process with threads is a risk), resets neither ignored signals nor limits, and verifies nothing.
Medians of 30 on a busy 2-core machine with an agent of 141 MB: Popen with another user 22 ms (best 13), a fresh
``python -I -S`` that does nothing 27 ms (best 22), this helper 13 ms (best 8), each from start to exit.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import attrs
import trio

from mezite.ssh import child as child_program
from mezite.ssh.errors import SpawnError

__all__ = ["Child", "ExitStatus", "ProcessSpawner", "ProgramSpec", "open_spawner"]

#: A status pipe carries one short line.
_PROBLEM_BYTES = 1024
#: A helper that was asked to end hangs up its programs and waits this long at most, plus the time to start
#: to.
_HELPER_END_SECONDS = child_program.HANGUP_SECONDS + child_program.KILL_SECONDS + 2


@attrs.frozen(kw_only=True)
class ProgramSpec:
    """What to run. Without ``command`` a login shell, otherwise the user's shell with ``-c`` and it."""

    login: str
    command: str | None
    pty: bool
    environment: dict[str, str]
    """Allow-listed variables from the client."""
    connection: dict[str, str]
    """Variables that describe the connection; they win over the client's."""


@attrs.frozen(kw_only=True)
class ExitStatus:
    """How a program ended: ``status`` or ``signal``, never both."""

    status: int | None = None
    signal: int | None = None
    core_dumped: bool = False

    @property
    def signal_name(self) -> str | None:
        """As SSH names it, without SIG."""
        if self.signal is None:
            return None
        try:
            return signal.Signals(self.signal).name.removeprefix("SIG")
        except ValueError:
            return f"RT{self.signal}@mezite"


class Child:
    """A started program."""

    def __init__(self, spawner: ProcessSpawner, number: int) -> None:
        self._spawner = spawner
        self._number = number
        self._ended = trio.Event()
        self._result: ExitStatus | None = None
        self.pid: int | None = None
        """The process, which is also its group and its session."""

    @property
    def ended(self) -> bool:
        """Whether it is over, or nobody can know any more."""
        return self._ended.is_set()

    async def wait_ended(self) -> None:
        """Wait for :attr:`ended`."""
        await self._ended.wait()

    async def wait(self) -> ExitStatus:
        """Wait for the end; :exc:`SpawnError` when the helper died and nobody knows."""
        await self._ended.wait()
        if self._result is None:
            raise SpawnError("the helper process that watched the program has ended")
        return self._result

    async def send_signal(self, number: int) -> None:
        """To the program's process group; nothing happens when the program has ended."""
        if not self._ended.is_set():
            with contextlib.suppress(SpawnError):
                await self._spawner._request({"op": "signal", "id": self._number, "signal": number}, ())

    def _finish(self, result: ExitStatus | None) -> None:
        self._result = result
        self._ended.set()


class ProcessSpawner:
    """Made by :func:`open_spawner`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._starting = trio.Lock()
        self._sending = trio.Lock()
        self._control: trio.socket.SocketType | None = None
        self._children: dict[int, Child] = {}
        self._last_number = 0

    async def spawn(self, spec: ProgramSpec, descriptors: Sequence[int]) -> Child:
        """Start a program on ``descriptors``: standard input, output and error, or just a terminal.

        They stay the caller's, who closes them afterwards. :exc:`SpawnError` says why it could not be
        executed. When cancelled the program may run: it is hung up.
        """
        self._last_number += 1
        number = self._last_number
        child = Child(self, number)
        status_out, status_in = os.pipe()
        async with trio.lowlevel.FdStream(status_out) as status:
            try:
                self._children[number] = child
                request = {"op": "spawn", "id": number, **attrs.asdict(spec)}
                await self._request(request, (*descriptors, status_in))
            except BaseException:
                self._children.pop(number, None)
                raise
            finally:
                os.close(status_in)
            try:
                problem = await status.receive_some(_PROBLEM_BYTES)
            except trio.Cancelled:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 1):
                    await child.send_signal(signal.SIGHUP)
                raise
        if problem:
            raise SpawnError(problem.decode("utf-8", "replace"))
        return child

    async def _request(self, message: dict[str, Any], descriptors: Sequence[int]) -> None:
        control = self._control or await self._start_helper()
        data = json.dumps(message).encode()
        if len(data) > child_program.MESSAGE_BYTES:
            raise SpawnError("the command and its environment are too long")
        ancillary = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        async with self._sending:
            try:
                await control.sendmsg([data], ancillary)
            except OSError as error:
                raise SpawnError(f"the helper process does not answer: {error.strerror}") from error

    async def _start_helper(self) -> trio.socket.SocketType:
        async with self._starting:
            if self._control is None:
                ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                with theirs:
                    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, child_program.MESSAGE_BYTES * 2)
                    process = await _run_helper(theirs)
                self._control = trio.socket.from_stdlib_socket(ours)
                self._nursery.start_soon(self._watch, self._control, process)
            return self._control

    async def _watch(self, control: trio.socket.SocketType, process: trio.Process) -> None:
        """Take the helper's messages; when it ends, everything it watched counts as ended."""
        try:
            while data := await _receive(control):
                self._receive(json.loads(data))
        finally:
            self._control = None
            control.close()
            children, self._children = self._children, {}
            for child in children.values():
                child._finish(None)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _HELPER_END_SECONDS):
                await process.wait()
            if process.returncode is None:
                process.kill()

    def _receive(self, message: dict[str, Any]) -> None:
        if message["op"] == "started":
            if message["id"] in self._children:
                self._children[message["id"]].pid = message["pid"]
            return
        child = self._children.pop(message["id"], None)
        if child is not None:
            child._finish(
                ExitStatus(status=message["status"], signal=message["signal"], core_dumped=message["core"])
            )


async def _receive(control: trio.socket.SocketType) -> bytes:
    try:
        return await control.recv(4096)
    except OSError:
        return b""


async def _run_helper(control: socket.socket) -> trio.Process:
    environment = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    return await trio.lowlevel.open_process(
        [sys.executable, "-I", "-S", child_program.__file__, str(control.fileno())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=(control.fileno(),),
        start_new_session=True,
        cwd="/",
        env=environment,
    )


@contextlib.asynccontextmanager
async def open_spawner() -> AsyncIterator[ProcessSpawner]:
    """A spawner for the length of the block. Its helper starts with the first program, ends with the block,
    and takes what still runs with it. A helper that dies is replaced with the next program.
    """
    async with trio.open_nursery() as nursery:
        try:
            yield ProcessSpawner(nursery)
        finally:
            nursery.cancel_scope.cancel()
