# SPDX-License-Identifier: Apache-2.0
"""``mezd``: the agent."""

from __future__ import annotations

import sys

from mezite.cli.errors import run_program
from mezite.cli.lazy_group import LazyCommand, program_group

__all__ = ["main", "mezd"]

mezd = program_group(
    "mezd",
    "The mezite agent: connects this machine to a hub, without one inbound port.",
    {
        "start": LazyCommand("mezite.cli.mezd_start:start", "Run the agent in the foreground."),
        "identity": LazyCommand(
            "mezite.cli.mezd_identity:identity", "Certificates for a program on this machine."
        ),
        "doctor": LazyCommand("mezite.cli.mezd_doctor:doctor", "Find out why the hub cannot be reached."),
    },
)


def main() -> None:
    """Run ``mezd`` and exit."""
    sys.exit(run_program(mezd, "mezd"))


if __name__ == "__main__":
    # Not this copy of the module: commands import it by its name, and types must be the same.
    from mezite.cli.mezd import main as main_of_the_module

    main_of_the_module()
