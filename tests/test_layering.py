# SPDX-License-Identifier: Apache-2.0
"""Imports go down only, and core does no I/O: the contracts in setup.cfg."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_contracts_hold():
    command = [str(Path(sys.executable).parent / "lint-imports"), "--config", "setup.cfg", "--no-cache"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    broken = finished.stdout.partition("Broken contracts")[2] or finished.stdout
    assert finished.returncode == 0, broken + finished.stderr
