# SPDX-License-Identifier: Apache-2.0
"""Which variables of a program come from the client, and which from its connection."""

from __future__ import annotations

import re

from mezite.ssh.limits import SshLimits
from mezite.ssh.policy import PeerAddress

__all__ = ["ClientEnvironment", "connection_variables"]

#: What Debian's and newer OpenSSH servers accept, and git's protocol version. Nothing that names files or
#: code: loaders and shells obey such variables (threat G2).
_ACCEPTED = frozenset({"COLORTERM", "GIT_PROTOCOL", "LANG", "LANGUAGE", "NO_COLOR", "TERM"})
_LOCALE = re.compile(r"LC_[A-Z_]{1,32}")


class ClientEnvironment:
    """Variables one session's client has set, within bounds."""

    def __init__(self, limits: SshLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self.variables: dict[str, str] = {}

    def offer(self, name: bytes, value: bytes) -> bool:
        """Take a variable, or say ``False``: not on the list, not text, or too much."""
        try:
            key, text = name.decode("ascii"), value.decode("utf-8")
        except UnicodeDecodeError:
            return False
        if key not in _ACCEPTED and not _LOCALE.fullmatch(key):
            return False
        size = self._bytes + len(name) + len(value)
        full = len(self.variables) >= self._limits.environment_entries and key not in self.variables
        if full or size > self._limits.environment_bytes or "\0" in text:
            return False
        self._bytes = size
        self.variables[key] = text
        return True


def connection_variables(
    peer: PeerAddress, *, tty: str | None, term: str | None, original_command: str | None
) -> dict[str, str]:
    """What programs expect of a login by SSH; Debian's bash reads ~/.bashrc for commands when SSH_CLIENT is
    set.
    """
    variables = {
        "SSH_CLIENT": f"{peer.client_ip} {peer.client_port} {peer.server_port}",
        "SSH_CONNECTION": f"{peer.client_ip} {peer.client_port} {peer.server_ip} {peer.server_port}",
    }
    optional = {"SSH_TTY": tty, "TERM": term, "SSH_ORIGINAL_COMMAND": original_command}
    return variables | {name: value for name, value in optional.items() if value is not None}
