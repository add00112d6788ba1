# SPDX-License-Identifier: Apache-2.0
"""The helper process that starts users' programs: ``python -I -S child.py FD``.

It is the agent's only child and has one thread, so that fork is safe (threat P16), and is small (12 MB), so
that fork is fast. Requests come over a socket of whole messages, the programs' descriptors with them. After
fork the child builds everything from nothing: session, terminal, limits, signals, groups, ids, environment,
directory; then it executes the shell. Even the user database is asked there, where a slow directory server
holds up nobody else.

Messages are JSON objects. To here: ``{"op": "spawn", "id", "login", "command", "pty", "environment",
"connection"}`` with the descriptors standard input, output, error (for a terminal: the terminal) and last the
status pipe; ``{"op": "signal", "id", "signal"}``. From here: ``{"op": "started", "id", "pid"}``, ``{"op":
"exited", "id", "status", "signal", "core"}``. The status pipe gets a line for the user if the program could
not be started, and is closed by a successful exec.

When the socket ends the agent is gone: every program's process group is hung up, then killed.
"""

from __future__ import annotations

import array
import contextlib
import errno
import importlib.util
import json
import os
import select
import signal
import socket
import sys
import time
from types import ModuleType
from typing import Any, NoReturn

MESSAGE_BYTES = 256 * 1024
DESCRIPTORS = 4
#: Time for programs to end by themselves after the hang-up that follows the agent's end.
HANGUP_SECONDS = 2.0
#: And for the kernel to end them after the kill that follows that.
KILL_SECONDS = 1.0

_USER_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
_ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _load_privilege() -> ModuleType:
    # -I keeps the script's directory off the path, and it must stay off: its modules would hide the
    # library's.
    place = os.path.join(os.path.dirname(os.path.abspath(__file__)), "privilege.py")
    spec = importlib.util.spec_from_file_location("mezite_privilege", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def build_environment(account: Any, request: dict[str, Any]) -> dict[str, str]:
    """The whole environment of a program; the client's variables cannot replace the account's."""
    environment = {"LANG": "C.UTF-8", **request["environment"], **request["connection"]}
    environment |= {
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell,
        "PATH": _ROOT_PATH if account.uid == 0 else _USER_PATH,
        "MAIL": f"/var/mail/{account.name}",
    }
    return environment


def arguments(account: Any, command: str | None) -> list[str]:
    """A login shell has a dash in front of its name; a command goes through the shell."""
    name = os.path.basename(account.shell)
    return [f"-{name}"] if command is None else [name, "-c", command]


def prepare_descriptors(  # pragma: no cover - as below
    request: dict[str, Any], descriptors: list[int], account: Any, privilege: Any
) -> int:
    """Standard input, output and error in place, nothing else open but the status pipe; its number."""
    *stdio, status = (os.dup(number) if number <= 2 else number for number in descriptors)
    if request["pty"]:
        privilege.own_terminal(stdio[0], account)
        privilege.take_terminal(stdio[0])
        stdio = stdio * 3
    # Not onto each other: everything the helper received lies above the numbers that are filled here.
    for target, source in enumerate(stdio):
        os.dup2(source, target, inheritable=True)
    os.set_inheritable(status, False)
    os.closerange(3, status)
    os.closerange(status + 1, 4096)
    return status


def run_program(  # pragma: no cover - runs in a forked child, whose process it replaces
    request: dict[str, Any], descriptors: list[int], privilege: Any
) -> NoReturn:
    """In the child: become the user and execute. Problems go to the status pipe."""
    status = descriptors[-1]
    try:
        os.setsid()
        account = privilege.find_account(request["login"])
        status = prepare_descriptors(request, descriptors, account, privilege)
        privilege.reset_limits()
        privilege.become(account)
        enter_home(account.home)
        privilege.reset_signals()
        argv = arguments(account, request["command"])
        os.execve(account.shell, argv, build_environment(account, request))  # noqa: S606 - it is a shell
    except privilege.PrivilegeError as error:
        problem = str(error)
    except OSError as error:
        problem = f"the login shell or its session could not be started: {error.strerror}"
    except BaseException as error:  # noqa: BLE001 - a forked child must never run the helper's loop
        problem = f"the program could not be started: {type(error).__name__}"
    with contextlib.suppress(OSError):
        os.write(status, problem.encode())
    os._exit(255)


def enter_home(home: str) -> None:
    """The home directory, or / with a remark, as sshd does."""
    try:
        os.chdir(home)
    except OSError as error:
        os.chdir("/")
        with contextlib.suppress(OSError):
            os.write(2, f"Could not chdir to home directory {home}: {error.strerror}\r\n".encode())


class Helper:
    """The loop: requests from the socket, ends of children from the kernel."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._privilege = _load_privilege()
        self._numbers: dict[int, int] = {}  # pid -> id
        self._pids: dict[int, int] = {}  # id -> pid

    def run(self) -> None:
        """Until the agent's end of the socket is gone and so are all programs."""
        wakeup_out, wakeup_in = os.pipe()
        for end in (wakeup_out, wakeup_in):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wakeup_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._control, select.POLLIN)
        poll.register(wakeup_out, select.POLLIN)
        while True:
            ready = {number for number, _ in poll.poll()}
            if wakeup_out in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wakeup_out, 4096)
            self._reap()
            if self._control.fileno() in ready and not self._receive():
                break
        self._end_all()

    def _receive(self) -> bool:
        room = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
        try:
            data, ancillary, _, _ = self._control.recvmsg(MESSAGE_BYTES, room, socket.MSG_CMSG_CLOEXEC)
        except ConnectionError:
            return False
        if not data:
            return False
        descriptors = array.array("i")
        for _, _, raw in ancillary:
            descriptors.frombytes(raw)
        try:
            request = json.loads(data)
            if request["op"] == "spawn":
                self._spawn(request, descriptors.tolist())
            else:
                self._signal(request)
        finally:
            for number in descriptors:
                os.close(number)
        return True

    def _spawn(self, request: dict[str, Any], descriptors: list[int]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            os.write(descriptors[-1], f"no new process: {error.strerror}".encode())
            self._send({"op": "exited", "id": request["id"], "status": 255, "signal": None, "core": False})
            return
        if pid == 0:
            run_program(request, descriptors, self._privilege)
        self._numbers[pid] = request["id"]
        self._pids[request["id"]] = pid
        self._send({"op": "started", "id": request["id"], "pid": pid})

    def _signal(self, request: dict[str, Any]) -> None:
        """Only to children not yet reaped, so that a number used again is never hit. The group is the whole
        session's first one: the shell, or the shell of a command with everything it started.
        """
        pid = self._pids.get(request["id"])
        if pid is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, request["signal"])

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            number = self._numbers.pop(pid, None)
            if number is None:
                continue
            del self._pids[number]
            ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
            self._send(
                {
                    "op": "exited",
                    "id": number,
                    "status": None if ended_by else os.WEXITSTATUS(status),
                    "signal": ended_by,
                    "core": os.WIFSIGNALED(status) and os.WCOREDUMP(status),
                }
            )

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._control.send(json.dumps(message).encode())
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN):
                raise

    def _end_all(self) -> None:
        self._signal_all(signal.SIGHUP, signal.SIGCONT)
        self._wait_for_all(HANGUP_SECONDS)
        self._signal_all(signal.SIGKILL)
        self._wait_for_all(KILL_SECONDS)

    def _wait_for_all(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._pids and time.monotonic() < deadline:
            select.select([], [], [], 0.02)
            self._reap()

    def _signal_all(self, *numbers: int) -> None:
        for identifier in list(self._pids):
            for number in numbers:
                self._signal({"id": identifier, "signal": number})


def main() -> None:
    """Run as a program: the socket's descriptor is the only argument."""
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    os.umask(0o077)
    Helper(control).run()


if __name__ == "__main__":
    main()
