# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Cluster, running_cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A hub, one agent `web-1`, and `admin` logged in with msh; shared by the tests of a module."""
    with running_cluster(tmp_path_factory.mktemp("cluster")) as running:
        running.start_agent("web-1", MEZITE_NODE_LABELS="env=prod,team=platform")
        running.login()
        yield running


@pytest.fixture
def fresh_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A hub of its own, for tests that break it."""
    with running_cluster(tmp_path) as running:
        yield running
