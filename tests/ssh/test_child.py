# SPDX-License-Identifier: Apache-2.0
"""The helper's own loop, run here; what its children do is in test_spawn."""

import array
import json
import os
import pwd
import signal
import socket

import pytest

from mezite.ssh import child
from mezite.ssh.privilege import Account

ACCOUNT = Account("alice", 1000, 1000, "/home/alice", "/bin/zsh")
REQUEST = {
    "environment": {"LANG": "de", "HOME": "/evil", "SSH_CLIENT": "x"},
    "connection": {"SSH_CLIENT": "1 2 3"},
}


def test_environment_of_a_user():
    assert child.build_environment(ACCOUNT, REQUEST) == {
        "LANG": "de",
        "SSH_CLIENT": "1 2 3",
        "HOME": "/home/alice",
        "USER": "alice",
        "LOGNAME": "alice",
        "SHELL": "/bin/zsh",
        "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games",
        "MAIL": "/var/mail/alice",
    }


def test_environment_of_root_and_without_a_locale():
    built = child.build_environment(ACCOUNT._replace(uid=0), {"environment": {}, "connection": {}})
    assert built["PATH"].startswith("/usr/local/sbin:")
    assert built["LANG"] == "C.UTF-8"


def test_arguments():
    assert child.arguments(ACCOUNT, None) == ["-zsh"]
    assert child.arguments(ACCOUNT, "ls -l") == ["zsh", "-c", "ls -l"]


def test_home_that_is_not_there(capfd):
    before = os.getcwd()
    try:
        child.enter_home("/nowhere/at/all")
        assert os.getcwd() == "/"
        child.enter_home("/tmp")
        assert os.getcwd() == "/tmp"
    finally:
        os.chdir(before)
    assert "Could not chdir to home directory /nowhere/at/all: No such file" in capfd.readouterr().err


@pytest.fixture
def control():
    """The agent's end; the loop's signal handling is undone afterwards."""
    handler = signal.getsignal(signal.SIGCHLD)
    wakeup = signal.set_wakeup_fd(-1)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        yield ours, child.Helper(theirs)
    finally:
        signal.signal(signal.SIGCHLD, handler)
        os.close(signal.set_wakeup_fd(wakeup))
        ours.close()
        theirs.close()


def request(command: str, number: int = 1) -> bytes:
    login = pwd.getpwuid(os.geteuid()).pw_name
    fields = {"login": login, "command": command, "pty": False, "environment": {}, "connection": {}}
    return json.dumps({"op": "spawn", "id": number, **fields}).encode()


def send(control: socket.socket, data: bytes, status: int) -> None:
    with open(os.devnull, "rb+") as nothing:
        numbers = array.array("i", [nothing.fileno()] * 3 + [status])
        control.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, numbers)])


def messages(control: socket.socket) -> list[dict]:
    control.setblocking(False)
    found = []
    while True:
        try:
            found.append(json.loads(control.recv(4096)))
        except BlockingIOError:
            return found


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_programs_are_started_watched_and_hung_up(control):
    agent, helper = control
    reading, writing = os.pipe()
    send(agent, request("exec sleep 1000"), writing)
    send(agent, request("trap '' HUP; sleep 1000", 2), writing)
    os.close(writing)
    agent.send(json.dumps({"op": "signal", "id": 99, "signal": 15}).encode())
    agent.shutdown(socket.SHUT_WR)
    helper.run()
    seen = messages(agent)
    assert [(message["op"], message["id"]) for message in seen[:2]] == [("started", 1), ("started", 2)]
    ends = {message["id"]: message for message in seen[2:]}
    # One that had not begun yet may have missed the hang-up; then it was killed.
    assert ends[1]["signal"] in (signal.SIGHUP, signal.SIGKILL)
    assert os.read(reading, 100) == b""  # executed without a complaint
    os.close(reading)


def test_agent_that_is_gone_is_not_told(control):
    agent, helper = control
    agent.close()
    helper._send({"op": "x"})
    helper.run()


def test_nothing_to_reap(control):
    _, helper = control
    signal.set_wakeup_fd(os.open(os.devnull, os.O_WRONLY | os.O_NONBLOCK), warn_on_full_buffer=False)
    helper._reap()
