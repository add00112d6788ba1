# SPDX-License-Identifier: Apache-2.0
"""``msh``: what users type."""

from __future__ import annotations

import sys

from mezite.cli.lazy_group import LazyCommand, program_group
from mezite.cli.terminal.errors import run_program

__all__ = ["main", "msh"]

msh = program_group(
    "msh",
    "Reach nodes and applications through a mezite hub.",
    {
        "login": LazyCommand("mezite.cli.msh.login:login", "Sign in and get certificates."),
        "logout": LazyCommand("mezite.cli.msh.logout:logout", "Forget the certificates."),
        "status": LazyCommand("mezite.cli.msh.status:status", "Show identity, roles and expiry."),
        "ls": LazyCommand("mezite.cli.msh.ls:ls", "List the nodes you may reach."),
        "ssh": LazyCommand("mezite.cli.msh.ssh:ssh", "Open a shell or run a command on a node."),
        "app": LazyCommand("mezite.cli.msh.app:app", "Reach applications."),
        "proxy": LazyCommand("mezite.cli.msh.proxy:proxy", "Carry another program's connection to a node."),
        "config": LazyCommand("mezite.cli.msh.config:config", "Print an ssh_config block for other tools."),
        "mfa": LazyCommand("mezite.cli.msh.mfa:mfa", "Your second factors."),
        "passwd": LazyCommand("mezite.cli.msh.passwd:passwd", "Change your password."),
        "doctor": LazyCommand("mezite.cli.msh.doctor:doctor", "Find out where the way to a node breaks."),
        "device": LazyCommand("mezite.cli.msh.device:device", "This machine as a trusted device."),
        "request": LazyCommand("mezite.cli.msh.request:request", "Ask for roles and nodes for a while."),
        "completion": LazyCommand("mezite.cli.completion:completion", "Print a shell completion script."),
    },
)


def main() -> None:
    """Run ``msh`` and exit."""
    sys.exit(run_program(msh, "msh"))
