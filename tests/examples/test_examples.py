# SPDX-License-Identifier: Apache-2.0
"""The examples run as they stand and do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

EXPECTED = {
    "mux_echo.py": ["done", "hello on channel 1", "hello on channel 2", "hello on channel 3"],
    "custom_gateway.py": ["you said: hello through the tunnel"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_example(name):
    finished = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / name],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert finished.stderr == ""
    assert sorted(finished.stdout.splitlines()) == EXPECTED[name]
    assert finished.returncode == 0


def test_every_example_is_run():
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == set(EXPECTED)
