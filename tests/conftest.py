# SPDX-License-Identifier: Apache-2.0
"""Settings that hold for every test."""

import functools
import os

import coverage
import pytest
from hypothesis import HealthCheck, Phase, settings

# No deadline: on a loaded machine it fails tests that are right. In CI the examples are the same in every
# run, so that a red build is red because of the change; `deep` looks for new ones and keeps what it finds.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=100, **_COMMON)
settings.register_profile("ci", max_examples=100, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("deep", max_examples=5000, print_blob=True, **_COMMON)
# For coverage runs and mutation tests: no time is spent on making failures small.
_PHASES = [Phase.explicit, Phase.generate]
settings.register_profile("quick", max_examples=20, derandomize=True, phases=_PHASES, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))


def pytest_configure() -> None:
    mark_coverage("collection")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logstart(location: tuple[str, int | None, str]) -> None:
    mark_coverage(location[0])


@functools.cache
def measured() -> coverage.Coverage | None:
    """Return the running measurement of this process, if there is one."""
    return coverage.Coverage.current()


def mark_coverage(context: str) -> None:
    """Attribute the lines that run from now on to a test module, for tests/individual_coverage.py."""
    running = measured()
    if running is not None and context not in _CONTEXT:
        running.switch_context(context)
        _CONTEXT[:] = [context]


_CONTEXT: list[str] = []


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long values by their argument: keys that are made anew in each process would name tests differently."""
    return argname if isinstance(val, bytes | str) and len(val) > _LONGEST_ID else None


_LONGEST_ID = 40
