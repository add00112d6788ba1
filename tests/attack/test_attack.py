# SPDX-License-Identifier: Apache-2.0
"""Threats A11, B9, C4, D14, T8: three hundred hostile connections of each class against one real hub.

All classes attack at once, because what ends most of them is a deadline of tens of real seconds. By hand, one class
after the other and more of them: `python -m tests.attack --connections 2000`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.root]

ROOT = Path(__file__).parents[2]
ALL_AT_ONCE = ("--together", "--connections", "300", "--per-second", "300", "--baseline", "6")
LONGEST_SECONDS = 110
"""Half of it on a machine that does nothing else; the test session gives a test 120."""


def test_honest_clients_notice_next_to_nothing() -> None:
    """As root: a peer that vanishes without a FIN is made with TCP_REPAIR.

    In processes whose lines are not counted: that makes them several times as slow, and latencies are what is judged.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.attack", *ALL_AT_ONCE],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=LONGEST_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    print(output)
    assert process.returncode == 0, output
