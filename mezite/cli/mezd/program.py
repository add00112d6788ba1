# SPDX-License-Identifier: Apache-2.0
"""``mezd``: the agent."""

from __future__ import annotations

import sys

from mezite.cli.lazy_group import LazyCommand, program_group
from mezite.cli.terminal.errors import run_program

__all__ = ["main", "mezd"]

mezd = program_group(
    "mezd",
    "The mezite agent: connects this machine to a hub, without one inbound port.",
    {
        "start": LazyCommand("mezite.cli.mezd.start:start", "Run the agent in the foreground."),
        "identity": LazyCommand(
            "mezite.cli.mezd.identity:identity", "Certificates for a program on this machine."
        ),
        "doctor": LazyCommand("mezite.cli.mezd.doctor:doctor", "Find out why the hub cannot be reached."),
    },
)


def main() -> None:
    """Run ``mezd`` and exit."""
    sys.exit(run_program(mezd, "mezd"))
