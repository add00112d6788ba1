# SPDX-License-Identifier: Apache-2.0
"""Programs started by the helper process: what they inherit (nothing) and how they end."""

import contextlib
import os
import signal
import subprocess

import attrs
import pytest
import trio

from mezite.ssh.errors import SpawnError
from mezite.ssh.spawn import ExitStatus, ProcessSpawner, ProgramSpec, open_spawner
from tests.ssh.peers import ME

pytestmark = pytest.mark.e2e


def spec(command: str | None, **changes) -> ProgramSpec:
    plain = ProgramSpec(login=ME, command=command, pty=False, environment={}, connection={})
    return attrs.evolve(plain, **changes)


@contextlib.contextmanager
def nothing():
    with open(os.devnull, "rb+") as null:
        yield null.fileno()


async def output_of(spawner: ProcessSpawner, what: ProgramSpec) -> tuple[str, ExitStatus]:
    reading, writing = os.pipe()
    async with trio.lowlevel.FdStream(reading) as out:
        with nothing() as null:
            try:
                child = await spawner.spawn(what, (null, writing, writing))
            finally:
                os.close(writing)
        text = b"".join([bytes(chunk) async for chunk in out]).decode()
        with trio.fail_after(10):
            return text, await child.wait()


@pytest.fixture(scope="module")
def stranger():
    """An account of its own with supplementary groups; made and removed by root."""
    name = f"mezite-t{os.getpid()}"
    subprocess.run(["useradd", "-m", "-s", "/bin/sh", "-G", "tty,games", name], check=True)
    yield name
    subprocess.run(["userdel", "-r", name], check=True, stderr=subprocess.DEVNULL)


def fields_of(status: str) -> dict[str, list[str]]:
    return {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines() if ":" in line}


@pytest.mark.root
async def test_identity_of_another_user_is_exactly_that_of_id(spawner, stranger):
    """G1: real, effective, saved and file system ids, and the groups, against id(1)."""
    text, _ = await output_of(spawner, spec("cat /proc/self/status", login=stranger))
    status = fields_of(text)

    def ids(option: str) -> list[str]:
        return subprocess.run(
            ["id", option, stranger], capture_output=True, text=True, check=True
        ).stdout.split()

    assert status["Uid"] == ids("-u") * 4
    assert status["Gid"] == ids("-g") * 4
    assert set(status["Groups"]) == set(ids("-G"))
    assert status["CapEff"] == status["CapPrm"] == ["0" * 16]


@pytest.mark.root
async def test_directory_of_another_user(spawner, stranger):
    text, _ = await output_of(
        spawner, spec("pwd; umask; touch x; stat -c '%U %a' x; echo $HOME", login=stranger)
    )
    assert text.split() == [f"/home/{stranger}", "0022", stranger, "644", f"/home/{stranger}"]


@pytest.mark.root
async def test_terminal_belongs_to_the_user(spawner, stranger):
    """A14, G3: by descriptor; group tty and 0620, so that write(1) works and nobody reads along."""
    master, slave = os.openpty()
    try:
        child = await spawner.spawn(
            spec("stat -c '%U %G %a' $(tty); tty", login=stranger, pty=True), (slave,)
        )
        os.close(slave)
        await child.wait()
        assert os.read(master, 4096).split()[:3] == [stranger.encode(), b"tty", b"620"]
    finally:
        os.close(master)


async def test_nothing_is_inherited(spawner):
    """G2: descriptors, limits, signals, session, priority, umask."""
    with contextlib.ExitStack() as cleanup:
        leak = os.open("/etc/passwd", os.O_RDONLY)
        os.set_inheritable(leak, True)
        cleanup.callback(os.close, leak)
        cleanup.callback(os.umask, os.umask(0o077))
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1):
            cleanup.callback(signal.signal, number, signal.signal(number, signal.SIG_IGN))
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        cleanup.callback(signal.pthread_sigmask, signal.SIG_UNBLOCK, {signal.SIGTERM})
        async with open_spawner() as fresh:  # its helper inherits all this
            command = (
                "echo $(ls /proc/self/fd | wc -w); ulimit -n; ulimit -c; umask; cat /proc/self/oom_score_adj;"
                "echo $(nice); cat /proc/self/status"
            )
            text, _ = await output_of(fresh, spec(command))
    first = text.splitlines()[:6]
    assert first == ["4", "1024", "0", "0022", "0", "0"]  # the fourth descriptor is that of ls itself
    status = fields_of(text)
    assert status["SigBlk"] == ["0" * 16]
    assert status["SigIgn"] == ["0" * 16]


async def test_session_of_its_own(spawner):
    text, _ = await output_of(spawner, spec("ps -o pid=,pgid=,sid=,tty= -p $$"))
    pid, group, session, terminal = text.split()
    assert pid == group == session
    assert terminal == "?"


async def test_controlling_terminal(spawner):
    master, slave = os.openpty()
    try:
        child = await spawner.spawn(spec("ps -o tty= -p $$; exit 3", pty=True), (slave,))
        name = os.ttyname(slave)
        os.close(slave)
        assert await child.wait() == ExitStatus(status=3)
        assert os.read(master, 4096).strip().decode() == name.removeprefix("/dev/")
    finally:
        os.close(master)


async def test_login_shell_has_a_dash(spawner):
    reading, writing = os.pipe()
    source, feed = os.pipe()
    async with trio.lowlevel.FdStream(reading) as out:
        child = await spawner.spawn(spec(None), (source, writing, writing))
        for number in (source, writing):
            os.close(number)
        os.write(feed, b"echo $0\n")
        os.close(feed)
        assert (await out.receive_some()).startswith(b"-")
        await child.wait()


async def test_how_programs_end(spawner):
    assert (await output_of(spawner, spec("exit 7")))[1] == ExitStatus(status=7)
    status = (await output_of(spawner, spec("kill -USR1 $$")))[1]
    assert (status.signal_name, status.core_dumped, status.status) == ("USR1", False, None)
    assert ExitStatus(status=0).signal_name is None
    assert ExitStatus(signal=40).signal_name == "RT40@mezite"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"login": "nobody-here"}, "does not exist on this node"),
        ({"login": "a\0b"}, "does not exist on this node"),
        ({"command": "x" * 300_000}, "too long"),
        ({"environment": {"A": "x" * 200_000}}, "could not be started"),
    ],
)
async def test_why_a_program_cannot_start(spawner, changes, reason):
    with pytest.raises(SpawnError, match=reason):
        await output_of(spawner, attrs.evolve(spec("true"), **changes))
    assert (await output_of(spawner, spec("echo alive")))[0] == "alive\n"


@contextlib.asynccontextmanager
async def running(spawner: ProcessSpawner, command: str):
    with nothing() as null:
        child = await spawner.spawn(spec(command), (null,) * 3)
    while child.pid is None:
        await trio.testing.wait_all_tasks_blocked(0.01)
    yield child


def parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        return int(stat.read().split()[3])


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def test_signals_go_to_the_group_until_the_end(spawner):
    async with running(spawner, "sleep 100; true") as child:
        await child.send_signal(signal.SIGTERM)
        assert (await child.wait()).signal == signal.SIGTERM
        await child.send_signal(signal.SIGTERM)


async def test_programs_end_with_the_helper_and_the_helper_with_the_block():
    async with open_spawner() as spawner, running(spawner, "exec sleep 1000") as child:
        helper = parent_of(child.pid)
    assert not alive(child.pid)
    assert not alive(helper)
    assert child.ended
    with pytest.raises(SpawnError, match="helper process"):
        await child.wait()


async def test_program_that_ignores_the_hang_up_is_killed():
    async with open_spawner() as spawner:
        async with running(spawner, "trap '' HUP; while :; do sleep 1; done") as child:
            pass
        with trio.fail_after(10):
            await trio.testing.wait_all_tasks_blocked(0.1)
    assert not alive(child.pid)


async def test_helper_that_dies_is_replaced(spawner):
    async with running(spawner, "exec sleep 1000") as child:
        os.kill(parent_of(child.pid), signal.SIGKILL)
        with pytest.raises(SpawnError, match="has ended"):
            await child.wait()
        os.kill(child.pid, signal.SIGKILL)
    assert (await output_of(spawner, spec("echo again")))[0] == "again\n"


async def test_many_at_once(spawner):
    results = []

    async def one(number: int) -> None:
        results.append((await output_of(spawner, spec(f"echo {number}; exit {number}")))[1].status)

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(one, number)
    assert sorted(results) == list(range(40))


async def test_cancelled_start_leaves_nothing(spawner):
    await output_of(spawner, spec("true"))
    with nothing() as null:
        before = set(os.listdir("/proc/self/fd"))
        with trio.CancelScope() as scope:
            scope.cancel()
            await spawner.spawn(spec("sleep 1000"), (null,) * 3)
        assert scope.cancelled_caught
        assert set(os.listdir("/proc/self/fd")) == before
