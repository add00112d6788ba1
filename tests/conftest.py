# SPDX-License-Identifier: Apache-2.0
"""Settings that hold for every test."""

import os

from hypothesis import HealthCheck, Phase, settings

# No deadline: on a loaded machine it fails tests that are right. In CI the examples are the same in every run,
# so that a red build is red because of the change; `deep` looks for new ones and keeps what it finds.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", max_examples=100, **_COMMON)
settings.register_profile("ci", max_examples=100, derandomize=True, print_blob=True, **_COMMON)
settings.register_profile("deep", max_examples=5000, print_blob=True, **_COMMON)
# For coverage runs and mutation tests: no time is spent on making failures small.
_PHASES = [Phase.explicit, Phase.generate]
settings.register_profile("quick", max_examples=20, derandomize=True, phases=_PHASES, **_COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "default"))
