# SPDX-License-Identifier: Apache-2.0
"""Stock OpenSSH against the node server: sessions without a terminal, files, and who may do what."""

import hashlib
import os
import pwd
import subprocess
import threading

import pytest
import trio

from mezite.ssh.policy import ChannelKind, Permissions
from tests.ssh.peers import ME, issue, run, running_node

pytestmark = pytest.mark.e2e

MEGABYTE = 1024 * 1024


def alive(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("status", [0, 7, 255])
async def test_exit_status_arrives(tmp_path, spawner, status):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh(f"echo out; echo err >&2; exit {status}")
        assert (result.returncode, result.stdout, result.stderr) == (status, b"out\n", b"err\n")


async def test_exit_by_signal(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh("kill -TERM $$", options=("-v",))
        assert result.returncode == 255
        assert b"exit-signal" in result.stderr
        await node.hooks.wait_for(lambda: node.hooks.ended)
        assert node.hooks.ended[0][1].signal == "TERM"


async def test_fifty_megabytes_down(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        data = os.urandom(MEGABYTE)
        (tmp_path / "block").write_bytes(data)
        repeat = f"for i in $(seq 50); do cat {tmp_path}/block; done"
        result = await node.ssh(repeat)
        assert result.returncode == 0
        assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data * 50).digest()


async def test_fifty_megabytes_up(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        data = os.urandom(MEGABYTE) * 50
        result = await node.ssh("sha256sum", data=data)
        assert result.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


async def test_both_directions_at_once(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        data = os.urandom(MEGABYTE) * 8
        result = await node.ssh("cat", data=data)
        assert result.stdout == data


async def test_end_of_output_that_the_client_does_not_want(tmp_path, spawner):
    """Eow: without it `ssh node yes | head -1` never ends; needs a banner that begins with OpenSSH."""
    async with running_node(tmp_path, spawner) as node:
        command = " ".join((*node.command("yes"), "| head -1"))
        result = await run(["/bin/sh", "-c", command])
        assert (result.returncode, result.stdout) == (0, b"y\n")
        await node.hooks.wait_for(lambda: node.hooks.ended)


async def test_program_that_closes_its_input_early(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh("exec <&-; sleep 0.1; echo done", data=bytes(6 * MEGABYTE))
        assert (result.returncode, result.stdout) == (0, b"done\n")


async def test_background_program_holds_the_session_only_with_its_pipes(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        free = await node.ssh("sleep 30 </dev/null >/dev/null 2>&1 & echo $!")
        assert free.returncode == 0
        pid = int(free.stdout)
        os.kill(pid, 15)  # it has survived its session
        held = await node.ssh("(sleep 0.3; echo late) & echo early")
        assert held.stdout == b"early\nlate\n"


async def test_environment_is_built_from_nothing(tmp_path, spawner):
    """G2: the account's variables, the connection's, and the client's from the list; not the agent's."""
    os.environ["AGENT_SECRET"] = "x"
    try:
        async with running_node(tmp_path, spawner) as node:
            result = await node.ssh(
                "cat /proc/$$/environ; true",  # before the shell's own start-up files
                options=("-o", "SetEnv=LANG=de_DE.UTF-8 LC_TIME=C LD_PRELOAD=/x HOME=/evil COLORTERM=1"),
            )
    finally:
        del os.environ["AGENT_SECRET"]
    seen = dict(line.split("=", 1) for line in result.stdout.decode().split("\0") if line)
    ip, port, server_port = seen["SSH_CLIENT"].split()
    assert (ip, server_port) == ("127.0.0.1", str(node.port))
    assert seen["SSH_CONNECTION"] == f"127.0.0.1 {port} 127.0.0.1 {node.port}"
    assert (seen["LANG"], seen["LC_TIME"], seen["COLORTERM"]) == ("de_DE.UTF-8", "C", "1")
    assert (seen["USER"], seen["LOGNAME"], seen["MAIL"]) == (ME, ME, f"/var/mail/{ME}")
    home = pwd.getpwnam(ME).pw_dir
    assert seen["HOME"] == home
    from_account = {"USER", "LOGNAME", "MAIL", "HOME", "PATH", "SHELL"}
    assert set(seen) == {"SSH_CLIENT", "SSH_CONNECTION", "LANG", "LC_TIME", "COLORTERM"} | from_account


async def test_eight_parallel_sessions_over_one_connection(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        control = ("-o", f"ControlPath={tmp_path}/mux")
        async with trio.open_nursery() as nursery:
            master = node.command(options=(*control, "-M", "-N"))
            nursery.start_soon(run, master)
            while (await node.ssh(options=(*control, "-O", "check"))).returncode:
                pass
            results = []

            async def one(number: int) -> None:
                data = os.urandom(1000) * number * 100
                result = await node.ssh(f"cat; exit {number}", options=control, data=data)
                results.append((result.returncode, result.stdout == data))

            async with trio.open_nursery() as clients:
                for number in range(8):
                    clients.start_soon(one, number)
            assert sorted(results) == [(number, True) for number in range(8)]
            assert node.connections == 1
            await node.ssh(options=(*control, "-O", "exit"))


async def test_slow_reader_gets_everything_and_is_not_buffered_for(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        command = node.command(f"head -c {20 * MEGABYTE} /dev/zero")
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        await node.hooks.wait_for(lambda: node.hooks.started)
        await trio.testing.wait_all_tasks_blocked(0.2)  # everything is full: nothing moves
        assert node.hooks.ended == []
        size = 0
        async with process.stdout:
            async for data in process.stdout:
                size += len(data)
        assert size == 20 * MEGABYTE
        assert await process.wait() == 0


async def test_no_thread_and_no_descriptor_is_left(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        await node.ssh("true")
        await node.hooks.wait_for(lambda: not node.active)
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            await node.ssh("echo x >&2")
        await node.hooks.wait_for(lambda: not node.active)
        assert set(os.listdir("/proc/self/fd")) == before
        assert not [thread for thread in threading.enumerate() if thread.name == "mezite-ssh"]


# ---- files ----------------------------------------------------------------------------------------------


async def test_scp_sftp_and_rsync(tmp_path, spawner):
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 * MEGABYTE))
    async with running_node(tmp_path, spawner) as node:
        scp = node.program("scp", "-q", str(source), f"node-1:{tmp_path}/by-scp")
        old_scp = node.program("scp", "-q", "-O", f"node-1:{source}", f"{tmp_path}/by-old-scp")
        rsync = ["rsync", "-e", f"ssh -F {node.config}", f"{source}", f"node-1:{tmp_path}/by-rsync"]
        for command in (scp, old_scp, rsync):
            result = await run(command)
            assert result.returncode == 0, result.stderr
        batch = f"put {source} {tmp_path}/by-sftp\nls {tmp_path}\n".encode()
        result = await run(node.program("sftp", "-b", "-", "node-1"), data=batch)
        assert result.returncode == 0, result.stderr
        for name in ("by-scp", "by-old-scp", "by-rsync", "by-sftp"):
            assert (tmp_path / name).read_bytes() == source.read_bytes(), name


async def test_sftp_without_a_server_says_so(tmp_path, spawner):
    async with running_node(tmp_path, spawner, sftp_server=None) as node:
        result = await run(node.program("sftp", "-b", "-", "node-1"), data=b"ls\n")
        assert result.returncode != 0
        assert b"sftp needs sftp-server of OpenSSH" in result.stderr


async def test_sftp_and_unknown_subsystems_are_refused(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        node.policy.permissions = Permissions(pty=True)
        for name in ("sftp", "netconf"):
            result = await node.ssh(name, options=("-s",))
            assert result.returncode == 255
            assert b"subsystem request failed" in result.stderr


# ---- who may do what ------------------------------------------------------------------------------------


async def test_login_not_allowed_is_explained_to_the_holder_of_the_key(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        result = await node.ssh("true", login="daemon")
        assert result.returncode == 255
        assert b"login daemon is not allowed for you" in result.stderr
        await node.hooks.wait_for(lambda: node.hooks.refusals)
        refusal = node.hooks.refusals[0]
        assert (refusal.login, refusal.user, refusal.kind) == ("daemon", None, None)


async def test_expired_certificate_is_explained(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        node.identity.write(issue(node.authority.ca, node.identity.key, [ME], lifetime=-10))
        result = await node.ssh("true")
        assert result.returncode == 255
        assert b"your certificate has expired; log in again" in result.stderr


async def test_nothing_new_after_the_certificate_expires(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        node.policy.expires_at = 1.0  # authenticated just before, so to speak
        result = await node.ssh("true")
        assert result.returncode == 255
        assert b"the certificate has expired; log in again" in result.stderr


@pytest.mark.parametrize("kind", [ChannelKind.SESSION, ChannelKind.EXEC])
async def test_each_channel_and_request_is_asked_about(tmp_path, spawner, kind):
    """A12: the agent re-checks every channel and every request with its target."""
    async with running_node(tmp_path, spawner) as node:
        node.policy.denied = {kind}
        result = await node.ssh("echo secret")
        assert (result.returncode, result.stdout) == (255, b"")
        assert node.policy.asked[0] == (ChannelKind.SESSION, "")
        await node.hooks.wait_for(lambda: node.hooks.refusals)
        assert node.hooks.refusals[0].kind is kind
        assert node.hooks.refusals[0].user == "alice"
        assert node.hooks.started == []


async def test_forced_command(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        node.policy.force_command = "echo forced instead of $SSH_ORIGINAL_COMMAND"
        assert (await node.ssh("rm -rf x")).stdout == b"forced instead of rm -rf x\n"
        assert (await node.ssh("sftp", options=("-s",))).stdout == b"forced instead of sftp\n"


async def test_hooks_hear_of_sessions(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        await node.ssh("cat; exit 3", data=b"12345")
        await node.hooks.wait_for(lambda: node.hooks.ended)
        (info, outcome) = node.hooks.ended[0]
        assert node.hooks.started == [info]
        assert (info.kind, info.target, info.pty) == (ChannelKind.EXEC, "cat; exit 3", False)
        assert (info.grant.user, info.grant.login, info.client.client_ip) == ("alice", ME, "127.0.0.1")
        assert (outcome.exit_status, outcome.bytes_in, outcome.bytes_out) == (3, 5, 5)


async def test_session_that_cannot_be_recorded_does_not_run(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        node.hooks.fail = True
        result = await node.ssh(f"touch {tmp_path}/ran")
        assert result.returncode == 255
        assert b"could not be recorded" in result.stderr
        assert not (tmp_path / "ran").exists()


async def test_unknown_login_of_the_node(tmp_path, spawner):
    async with running_node(tmp_path, spawner, logins=("nobody-here",)) as node:
        result = await node.ssh("true", login="nobody-here")
        assert result.returncode == 255
        assert b"login 'nobody-here' does not exist on this node" in result.stderr


# ---- programs end with their connection -----------------------------------------------------------------


@pytest.mark.parametrize("options", [(), ("-tt",)])
async def test_programs_are_hung_up_when_the_connection_goes(tmp_path, spawner, options):
    async with running_node(tmp_path, spawner) as node:
        command = node.command("echo $$; exec sleep 1000", options=options)
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        pid = int((await process.stdout.receive_some()).strip())
        os.kill(pid, 0)
        process.kill()
        await process.wait()
        await node.hooks.wait_for(lambda: node.hooks.ended)
        assert not alive(pid)


async def test_cancelled_server_takes_its_programs_along(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node:
        command = node.command("trap '' HUP; echo $$; exec sleep 0.5")
        process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        pid = int((await process.stdout.receive_some()).strip())
    process.kill()
    await process.wait()
    assert not alive(pid)
    assert node.hooks.ended[0][1].error == "the connection was lost"
