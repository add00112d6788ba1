# SPDX-License-Identifier: Apache-2.0
"""Terminal modes: read from the wire, set on a real terminal."""

import fcntl
import os
import struct
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.tty_modes import apply_modes, parse_modes, set_size
from mezite.ssh.wire import uint32


@pytest.fixture
def terminal():
    master, slave = os.openpty()
    yield slave
    os.close(master)
    os.close(slave)


@given(
    st.dictionaries(st.integers(1, 159), st.integers(0, 2**32 - 1)), st.sampled_from([b"", b"\0", b"\xa0x"])
)
def test_round_trip(modes, end):
    encoded = b"".join(bytes((opcode,)) + uint32(value) for opcode, value in modes.items())
    assert parse_modes(encoded + end) == modes


@pytest.mark.parametrize("encoded", [b"\1", b"\1\0\0\0", b"\1\0\0\0\0" * 1000])
def test_modes_that_are_refused(encoded):
    with pytest.raises(PeerProtocolError):
        parse_modes(encoded)


def test_flags_and_characters(terminal):
    apply_modes(terminal, {53: 0, 36: 0, 72: 1, 1: 11, 10: 255, 42: 1, 91: 1, 128: 38400, 159: 1})
    attributes = termios.tcgetattr(terminal)
    assert not attributes[3] & termios.ECHO
    assert not attributes[0] & termios.ICRNL
    assert attributes[0] & 0o40000
    assert attributes[1] & termios.ONLCR
    assert attributes[2] & termios.CSIZE == termios.CS8
    assert attributes[6][termios.VINTR] == b"\x0b"
    assert attributes[6][termios.VSUSP] == b"\0"
    apply_modes(terminal, {53: 1, 90: 0})
    attributes = termios.tcgetattr(terminal)
    assert attributes[3] & termios.ECHO
    assert attributes[2] & termios.CSIZE == termios.CS8


@given(st.dictionaries(st.integers(1, 159), st.integers(0, 2**32 - 1), max_size=60))
def test_any_modes_can_be_applied(modes):
    master, slave = os.openpty()
    try:
        apply_modes(slave, modes)
    finally:
        os.close(master)
        os.close(slave)


def test_size(terminal):
    set_size(terminal, (132, 43, 5, 2**32 - 1))
    size = struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))
    assert size == (43, 132, 5, 65535)
