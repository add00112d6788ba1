# SPDX-License-Identifier: Apache-2.0
"""The examples run as they stand and do what they say."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

EXPECTED = {
    "who_may_what.py": [
        "  to flip it: add deploy to allow.logins of role developer",
        "  to flip it: let deny.logins of role developer no longer match and "
        "add root to allow.logins of role developer",
        "  to flip it: set the label env=development on it",
        "  to flip it: take role developer from the user",
        "alice on production: no, no role allows this node",
        "alice on staging: yes, role developer allows it",
        "deploy on staging: no, the login 'deploy' is not among those that developer allows",
        "root on staging: no, role developer denies the login 'root'",
    ],
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
