# SPDX-License-Identifier: Apache-2.0
"""A session channel (RFC 4254 section 6): requests in, one program, its end out."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from mezite.ssh import messages
from mezite.ssh.channel import Channel
from mezite.ssh.environment import ClientEnvironment, connection_variables
from mezite.ssh.errors import SpawnError
from mezite.ssh.limits import SshLimits
from mezite.ssh.pipe_process import PipeProcess
from mezite.ssh.policy import ChannelKind, PeerAddress, Refusal, SessionInfo, SessionOutcome, SshGrant
from mezite.ssh.process import ProgramIO
from mezite.ssh.pty_process import PtyProcess, TerminalRequest
from mezite.ssh.spawn import ProcessSpawner, ProgramSpec
from mezite.ssh.tty_modes import parse_modes
from mezite.ssh.wire import WireReader

__all__ = ["SessionChannel", "SessionHost", "find_sftp_server"]

_log = logging.getLogger("mezite.ssh")

#: Where distributions keep OpenSSH's sftp-server: Debian, Red Hat, SUSE and BSD, Arch.
SFTP_SERVERS = (
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
    "/usr/libexec/sftp-server",
)
#: What sshd exits with when it cannot run anything.
_NOT_RUN = 255
#: Signals a client may send (RFC 4254 section 6.10).
_SIGNALS = (
    "ABRT",
    "ALRM",
    "FPE",
    "HUP",
    "ILL",
    "INT",
    "KILL",
    "PIPE",
    "QUIT",
    "SEGV",
    "TERM",
    "USR1",
    "USR2",
)
#: Signals that wait for a program still being started.
_PENDING_SIGNALS = 8
_TERM_CHARACTERS = 64


def find_sftp_server() -> str | None:
    """OpenSSH's sftp-server on this machine, if it is there."""
    return next((path for path in SFTP_SERVERS if os.access(path, os.X_OK)), None)


class SessionHost(Protocol):
    """What a session needs of the server it belongs to."""

    grant: SshGrant
    limits: SshLimits
    peer: PeerAddress
    spawner: ProcessSpawner
    sftp_server: str | None

    def authorize(self, kind: ChannelKind, target: str) -> Refusal | None:
        """The policy's answer, recorded when it is a no."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task of the connection."""

    async def session_started(self, info: SessionInfo) -> None:
        """Before any byte flows."""

    async def session_ended(self, info: SessionInfo, outcome: SessionOutcome) -> None:
        """Once for each started session."""

    def new_session_id(self) -> str:
        """A fresh id."""

    def request_agent_forwarding(self, session: SessionChannel) -> bool:
        """Whether programs of this session may reach the client's key agent."""


@attrs.frozen
class _Program:
    kind: ChannelKind
    target: str
    """What was asked for."""
    command: str | None
    """What runs."""


class SessionChannel:
    """One session. Requests are answered at once and in order; the program runs in :meth:`run`."""

    def __init__(self, channel: Channel, host: SessionHost) -> None:
        self._channel = channel
        self._host = host
        self._environment = ClientEnvironment(host.limits)
        self._terminal: TerminalRequest | None = None
        self._program: _Program | None = None
        self._io: ProgramIO | None = None
        self._pending_signals: list[int] = []
        self._signal_arrived = trio.Event()
        self.extra_variables: dict[str, str] = {}
        """Set for the program besides the usual ones: the agent's socket."""
        channel.on_request = self._receive_request

    # ---- requests ---------------------------------------------------------------------------------------

    def _receive_request(self, name: str, data: WireReader) -> bool:
        if name in ("shell", "exec", "subsystem"):
            return self._program is None and self._start(name, data)
        receive = _REQUESTS.get(name)
        return receive is not None and receive(self, data)

    def _start(self, name: str, data: WireReader) -> bool:
        target = "" if name == "shell" else data.string().decode("utf-8", "surrogateescape")
        kind = ChannelKind(name)
        if "\0" in target or self._host.authorize(kind, target) is not None:
            return False
        command = {ChannelKind.SHELL: None, ChannelKind.EXEC: target}.get(kind, self._subsystem(kind, target))
        if kind is ChannelKind.SUBSYSTEM and command is None:
            return False
        if self._host.grant.force_command is not None:
            command = self._host.grant.force_command
        self._program = _Program(kind, target, command)
        self._host.start_soon(self.run)
        return True

    def _subsystem(self, kind: ChannelKind, name: str) -> str | None:
        if kind is not ChannelKind.SUBSYSTEM or name != "sftp" or not self._host.grant.permissions.file_copy:
            return None
        if self._host.sftp_server is None:
            return "echo 'sftp needs sftp-server of OpenSSH, which this node does not have' >&2; exit 1"
        return self._host.sftp_server

    def _receive_env(self, data: WireReader) -> bool:
        return self._program is None and self._environment.offer(data.string(), data.string())

    def _receive_pty(self, data: WireReader) -> bool:
        term = data.string().decode("ascii", "replace")
        size = (data.uint32(), data.uint32(), data.uint32(), data.uint32())
        modes = parse_modes(data.string())
        if self._program is not None or self._terminal is not None:
            return False
        if not self._host.grant.permissions.pty or not self._plausible_term(term):
            return False
        if self._host.authorize(ChannelKind.PTY, term) is not None:
            return False
        self._terminal = TerminalRequest(term, size, modes)
        return True

    @staticmethod
    def _plausible_term(term: str) -> bool:
        return len(term) <= _TERM_CHARACTERS and term.isprintable() and "/" not in term

    def _receive_window_change(self, data: WireReader) -> bool:
        size = (data.uint32(), data.uint32(), data.uint32(), data.uint32())
        if self._terminal is None:
            return False
        self._terminal.size = size
        if self._io is not None:
            self._io.resize(size)
        return True

    def _receive_signal(self, data: WireReader) -> bool:
        name = data.text()
        if name not in _SIGNALS or self._program is None or len(self._pending_signals) >= _PENDING_SIGNALS:
            return False
        self._pending_signals.append(signal.Signals[f"SIG{name}"])
        self._signal_arrived.set()
        return True

    def _receive_break(self, _data: WireReader) -> bool:
        return (
            self._terminal is not None
        )  # RFC 4335; a terminal that is not a serial line ignores it, as in sshd

    def _receive_eow(self, _data: WireReader) -> bool:
        if self._io is not None:
            self._io.stop_output()
        return True

    def _receive_agent(self, _data: WireReader) -> bool:
        return self._program is None and self._host.request_agent_forwarding(self)

    # ---- the program ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the program that was asked for; afterwards the channel is closed. The end is told even when
        cancelled.
        """
        assert self._program is not None
        host, program = self._host, self._program
        info = SessionInfo(
            session_id=host.new_session_id(),
            grant=host.grant,
            kind=program.kind,
            target=program.target,
            pty=self._terminal is not None,
            client=host.peer,
        )
        try:
            if not await self._announce(info):
                return
            outcome = SessionOutcome(error="the connection was lost")
            try:
                outcome = await self._run_program(program)
            finally:
                counted = attrs.evolve(
                    outcome, bytes_in=self._channel.bytes_in, bytes_out=self._channel.bytes_out
                )
                await host.session_ended(info, counted)
        finally:
            self._channel.close()

    async def _announce(self, info: SessionInfo) -> bool:
        try:
            await self._host.session_started(info)
        except Exception:  # noqa: BLE001 - logged; the answer is no
            _log.exception("a session could not be recorded")
            await self._finish(_not_run("the session could not be recorded, so it was not started"))
            return False
        return True

    async def _run_program(self, program: _Program) -> SessionOutcome:
        signals = trio.CancelScope()
        try:
            tty = None
            if self._terminal is None:
                self._io = PipeProcess(self._channel)
            else:
                self._io = PtyProcess(self._channel, self._terminal)
                tty = self._io.name
            self._host.start_soon(self._pass_signals, self._io, signals)
            status = await self._io.run(self._host.spawner, self._spec(program, tty))
            outcome = SessionOutcome(exit_status=status.status, signal=status.signal_name)
        except (SpawnError, OSError) as error:
            outcome = _not_run(str(error))
        finally:
            signals.cancel()
        await self._finish(outcome)
        return outcome

    def _spec(self, program: _Program, tty: str | None) -> ProgramSpec:
        grant = self._host.grant
        forced = grant.force_command is not None
        connection = connection_variables(
            self._host.peer,
            tty=tty,
            term=self._terminal.term if self._terminal else None,
            original_command=program.target if forced and program.target else None,
        )
        return ProgramSpec(
            login=grant.login,
            command=program.command,
            pty=self._terminal is not None,
            environment=self._environment.variables,
            connection=connection | self.extra_variables,
        )

    async def _pass_signals(self, io: ProgramIO, scope: trio.CancelScope) -> None:
        with scope:
            while True:
                await self._signal_arrived.wait()
                self._signal_arrived = trio.Event()
                while self._pending_signals:
                    await io.send_signal(self._pending_signals.pop(0))

    async def _finish(self, outcome: SessionOutcome) -> None:
        """Tell the client how it ended. The status goes before EOF: after both ends' EOF clients close at
        once and would miss it.
        """
        channel = self._channel
        if outcome.error is not None:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await channel.send_stderr(f"{outcome.error}\r\n".encode())
        if outcome.signal is not None:
            channel.send_request(messages.exit_signal(channel.remote_id, outcome.signal, core_dumped=False))
        elif outcome.exit_status is not None:
            channel.send_request(messages.exit_status(channel.remote_id, outcome.exit_status))
        channel.send_eof_nowait()


def _not_run(problem: str) -> SessionOutcome:
    return SessionOutcome(exit_status=_NOT_RUN, error=problem)


_REQUESTS: dict[str, Callable[[SessionChannel, WireReader], bool]] = {
    "env": SessionChannel._receive_env,
    "pty-req": SessionChannel._receive_pty,
    "window-change": SessionChannel._receive_window_change,
    "signal": SessionChannel._receive_signal,
    "break": SessionChannel._receive_break,
    "eow@openssh.com": SessionChannel._receive_eow,
    "auth-agent-req@openssh.com": SessionChannel._receive_agent,
}
