# SPDX-License-Identifier: Apache-2.0
"""Claim: encoded terminal modes are refused or give opcodes from 1 to 159 with 32-bit values, each taken from the
input, in time linear in it.

Allowed exceptions: PeerProtocolError, from ``parse_modes``.
"""

from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.tty_modes import parse_modes


def check(data: bytes) -> None:
    try:
        modes = parse_modes(data)
    except PeerProtocolError:
        return
    assert len(modes) * 5 <= len(data)
    for opcode, value in modes.items():
        assert 1 <= opcode <= 159
        assert bytes((opcode,)) + value.to_bytes(4, "big") in data


if __name__ == "__main__":
    import sys

    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
