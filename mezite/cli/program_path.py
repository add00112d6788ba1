# SPDX-License-Identifier: Apache-2.0
"""How one of our programs starts another, and what to write into files that others will run."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path

__all__ = ["program_command", "program_text"]


def program_command(name: str) -> list[str]:
    """Return an argv that runs `name` with this very interpreter and installation.

    `-P`: a file called like one of our modules in the user's current directory is not imported.
    """
    return [sys.executable, "-P", "-m", f"mezite.cli.{name}"]


def program_text(name: str) -> str:
    """Return shell text that runs `name`: its installed script if there is one, else the interpreter."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    return shlex.quote(found) if found else shlex.join(program_command(name))
