# SPDX-License-Identifier: Apache-2.0
"""Sessions with a terminal: the test holds the terminal that stock ssh runs on."""

import contextlib
import fcntl
import os
import signal
import struct
import termios

import attrs
import pytest
import trio

from mezite.ssh.policy import ChannelKind, Permissions
from tests.ssh.peers import Server, running_node

pytestmark = pytest.mark.e2e


@attrs.define
class Terminal:
    """The user's side of a terminal with ssh on the other."""

    master: trio.lowlevel.FdStream
    number: int
    process: trio.Process
    seen: bytes = b""

    async def wait_for(self, text: str) -> str:
        """Everything up to ``text``, which is then forgotten."""
        with trio.fail_after(10):
            while text.encode() not in self.seen:
                try:
                    self.seen += await self.master.receive_some(4096)
                except trio.BrokenResourceError:
                    raise AssertionError(f"ended without {text!r}: {self.seen!r}") from None
        before, _, self.seen = self.seen.partition(text.encode())
        return before.decode()

    async def type(self, text: str) -> None:
        await self.master.send_all(text.encode())

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.number, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process.send_signal(signal.SIGWINCH)

    async def status(self) -> int:
        with trio.fail_after(10):
            return await self.process.wait()


@contextlib.asynccontextmanager
async def terminal(node: Server, *command: str, options: tuple[str, ...] = ("-tt",)):
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    try:
        process = await trio.lowlevel.open_process(
            node.command(*command, options=options),
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
    finally:
        os.close(slave)
    async with trio.lowlevel.FdStream(master) as stream:
        try:
            yield Terminal(stream, master, process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


async def test_size_and_resize(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        loop = "stty size; trap 'stty size; exit 4' WINCH; echo ready; while :; do sleep 0.05; done"
        async with terminal(node, loop) as user:
            assert (await user.wait_for("ready")).split() == ["30", "100"]
            user.resize(132, 43)
            await user.wait_for("43 132")
            assert await user.status() == 4


async def test_login_shell_with_its_variables(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        async with terminal(node) as user:
            await user.type("PS1=; unset PROMPT_COMMAND; echo $0 $TERM $SSH_TTY $(tty) end=$((1+1))\n")
            line = (await user.wait_for("end=2")).splitlines()[-1].split()
            assert line[0].startswith("-")
            assert line[1] == "xterm-256color"
            assert line[2] == line[3]
            assert line[2].startswith("/dev/pts/")
            await user.type("exit 9\n")
            assert await user.status() == 9
        await node.hooks.wait_for(lambda: node.hooks.ended)
        info = node.hooks.started[0]
        assert (info.kind, info.pty) == (ChannelKind.SHELL, True)


async def test_interrupt_reaches_the_program(tmp_path, spawner):
    """Signals ignored by the agent are not ignored by users' shells."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    quit_before = signal.signal(signal.SIGQUIT, signal.SIG_IGN)
    try:
        async with (
            running_node(tmp_path, spawner) as node,
            terminal(node, "trap 'echo caught; exit 5' INT; echo ready; while :; do sleep 0.1; done") as user,
        ):
            await user.wait_for("ready")
            await user.type("\x03")
            await user.wait_for("caught")
            assert await user.status() == 5
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGQUIT, quit_before)


async def test_modes_of_the_users_terminal_are_taken_over(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        master, slave = os.openpty()
        attributes = termios.tcgetattr(slave)
        attributes[6][termios.VINTR] = b"\x0b"
        attributes[3] &= ~termios.ECHOK
        termios.tcsetattr(slave, termios.TCSANOW, attributes)
        try:
            process = await trio.run_process(
                node.command("stty -a", options=("-tt",)), stdin=slave, capture_stdout=True, check=False
            )
        finally:
            os.close(master)
            os.close(slave)
        assert b"intr = ^K" in process.stdout
        assert b"-echok " in process.stdout


async def test_background_job_does_not_hold_a_terminal_session(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        async with terminal(node, "trap '' HUP; sleep 30 & echo pid=$!.; exit 6") as user:
            await user.wait_for("pid=")
            pid = int(await user.wait_for("."))
            assert await user.status() == 6
        os.kill(pid, signal.SIGKILL)


async def test_all_output_arrives_before_the_end(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh("seq 200000", options=("-tt",))
        lines = result.stdout.split()
        assert (result.returncode, len(lines), lines[-1]) == (0, 200000, b"200000")


async def test_terminal_only_when_permitted(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        node.policy.permissions = Permissions(port_forwarding=True)
        result = await node.ssh("tty", options=("-tt",))
        assert b"PTY allocation request failed" in result.stderr
        assert result.returncode == 255  # as with sshd: the client gives up when it insists on a terminal


async def test_break_request_is_granted(tmp_path, spawner):
    """`~B` has no effect on a terminal that is not a serial line."""
    async with (
        running_node(tmp_path, spawner) as node,
        terminal(node, "cat", options=("-tt", "-e", "~")) as user,
    ):
        await user.type("x\r")
        await user.wait_for("x\r\nx")
        await user.type("\r~B")
        await user.type("y\r\x04")
        assert await user.status() == 0


async def test_hang_up_when_the_client_goes(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        mark = tmp_path / "hung-up"
        async with terminal(
            node, f"trap 'touch {mark}; exit' HUP; echo ready; while :; do sleep 0.05; done"
        ) as user:
            await user.wait_for("ready")
        await node.hooks.wait_for(lambda: node.hooks.ended)
        assert mark.exists()


async def test_nothing_is_left_open(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        await node.ssh("true", options=("-tt",))
        await node.hooks.wait_for(lambda: not node.active)
        before = set(os.listdir("/proc/self/fd"))
        await node.ssh("tty", options=("-tt",))
        await node.hooks.wait_for(lambda: not node.active)
        assert set(os.listdir("/proc/self/fd")) == before
