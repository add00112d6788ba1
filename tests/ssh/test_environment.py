# SPDX-License-Identifier: Apache-2.0
"""G2: which variables come from a client."""

import pytest

from mezite.ssh.environment import ClientEnvironment, connection_variables
from mezite.ssh.limits import SshLimits
from mezite.ssh.policy import PeerAddress


@pytest.mark.parametrize(
    "name", ["LANG", "LC_ALL", "LC_TIME", "TERM", "COLORTERM", "NO_COLOR", "GIT_PROTOCOL"]
)
def test_accepted(name):
    environment = ClientEnvironment(SshLimits())
    assert environment.offer(name.encode(), "wört".encode())
    assert environment.variables == {name: "wört"}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(
            (name, b"x")
            for name in (b"LD_PRELOAD", b"PATH", b"HOME", b"BASH_ENV", b"lang", b"", b"LC_", b"\xff")
        ),
        *((b"LC_A=B", b"x"), (b"LC_A\n", b"x"), (b"LANG", b"a\0b"), (b"LANG", b"\xff"), (b"LANGX", b"x")),
    ],
)
def test_refused(name, value):
    environment = ClientEnvironment(SshLimits())
    assert not environment.offer(name, value)
    assert environment.variables == {}


def test_bounds():
    environment = ClientEnvironment(SshLimits(environment_entries=2, environment_bytes=100))
    assert environment.offer(b"LC_A", b"1")
    assert environment.offer(b"LC_B", b"1")
    assert not environment.offer(b"LC_C", b"1")
    assert environment.offer(b"LC_A", b"2")
    assert not environment.offer(b"LC_A", b"x" * 100)
    assert environment.variables == {"LC_A": "2", "LC_B": "1"}


def test_connection():
    peer = PeerAddress(client_ip="2001:db8::1", client_port=1, server_ip="::1", server_port=22)
    assert str(peer) == "[2001:db8::1]:1"
    assert str(PeerAddress(client_ip="192.0.2.1")) == "192.0.2.1:0"
    assert connection_variables(peer, tty="/dev/pts/3", term=None, original_command="x") == {
        "SSH_CLIENT": "2001:db8::1 1 22",
        "SSH_CONNECTION": "2001:db8::1 1 ::1 22",
        "SSH_TTY": "/dev/pts/3",
        "SSH_ORIGINAL_COMMAND": "x",
    }
