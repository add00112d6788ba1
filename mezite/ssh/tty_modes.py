# SPDX-License-Identifier: Apache-2.0
"""The terminal modes a client sends along (RFC 4254 section 8), applied to a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import struct
import termios

from mezite.ssh.errors import PeerProtocolError

__all__ = ["apply_modes", "parse_modes", "set_size"]

#: Opcodes from here on have no argument of a known size: parsing stops (section 8).
_FIRST_UNDEFINED = 160
#: No character, in SSH's encoding and in Linux's.
_SSH_DISABLED, _LINUX_DISABLED = 255, b"\0"
_MODE_BYTES = 4096  # a full set of modes takes 300

_CHARACTERS = {
    1: "VINTR",
    2: "VQUIT",
    3: "VERASE",
    4: "VKILL",
    5: "VEOF",
    6: "VEOL",
    7: "VEOL2",
    8: "VSTART",
    9: "VSTOP",
    10: "VSUSP",
    12: "VREPRINT",
    13: "VWERASE",
    14: "VLNEXT",
    18: "VDISCARD",
}
_INPUT = {
    30: "IGNPAR",
    31: "PARMRK",
    32: "INPCK",
    33: "ISTRIP",
    34: "INLCR",
    35: "IGNCR",
    36: "ICRNL",
    37: "IUCLC",
    38: "IXON",
    39: "IXANY",
    40: "IXOFF",
    41: "IMAXBEL",
    42: "IUTF8",
}
_OUTPUT = {70: "OPOST", 71: "OLCUC", 72: "ONLCR", 73: "OCRNL", 74: "ONOCR", 75: "ONLRET"}
_CONTROL = {90: "CS7", 91: "CS8", 92: "PARENB", 93: "PARODD"}
_LOCAL = {
    50: "ISIG",
    51: "ICANON",
    52: "XCASE",
    53: "ECHO",
    54: "ECHOE",
    55: "ECHOK",
    56: "ECHONL",
    57: "NOFLSH",
    58: "TOSTOP",
    59: "IEXTEN",
    60: "ECHOCTL",
    61: "ECHOKE",
    62: "PENDIN",
}
#: Linux values of names that Python's termios does not have everywhere.
_NUMBERS = {"IUTF8": 0o40000, "IUCLC": 0o1000, "OLCUC": 0o2, "XCASE": 0o4}
#: Positions in the list of termios.tcgetattr.
_FLAGS = ((0, _INPUT), (1, _OUTPUT), (2, _CONTROL), (3, _LOCAL))
_CC = 6


def parse_modes(encoded: bytes) -> dict[int, int]:
    """Opcodes and their values; :exc:`PeerProtocolError` when a value is cut short or the whole is too
    long.
    """
    if len(encoded) > _MODE_BYTES:
        raise PeerProtocolError("terminal modes are too long")
    modes: dict[int, int] = {}
    offset = 0
    while offset < len(encoded):
        opcode = encoded[offset]
        if opcode == 0 or opcode >= _FIRST_UNDEFINED:
            break
        if offset + 5 > len(encoded):
            raise PeerProtocolError("terminal modes are cut short")
        modes[opcode] = int.from_bytes(encoded[offset + 1 : offset + 5], "big")
        offset += 5
    return modes


def apply_modes(terminal: int, modes: dict[int, int]) -> None:
    """Set what the terminal knows of ``modes``; speeds mean nothing here and are left.

    A combination that the kernel refuses leaves the terminal as it was: no reason to refuse the session.
    """
    attributes = termios.tcgetattr(terminal)
    for position, names in _FLAGS:
        for opcode, name in names.items():
            if opcode in modes:
                attributes[position] = _with_flag(attributes[position], name, modes[opcode])
    for opcode, name in _CHARACTERS.items():
        if opcode in modes:
            value = modes[opcode]
            character = _LINUX_DISABLED if value == _SSH_DISABLED else bytes((value & 0xFF,))
            attributes[_CC][getattr(termios, name)] = character
    with contextlib.suppress(termios.error):
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)


def _with_flag(flags: int, name: str, value: int) -> int:
    bit: int = getattr(termios, name, _NUMBERS.get(name, 0))
    if name in ("CS7", "CS8"):  # not single bits, but values of one field
        return (flags & ~termios.CSIZE) | bit if value else flags
    return flags | bit if value else flags & ~bit


def set_size(terminal: int, size: tuple[int, int, int, int]) -> None:
    """Columns, rows, pixels across, pixels down; the kernel keeps 16 bits of each and signals a change."""
    columns, rows, width, height = (min(number, 0xFFFF) for number in size)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, width, height))
