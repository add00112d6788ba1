# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.commands import HubInThread, hub_in_thread


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubInThread]:
    """One hub for all tests of commands: each uses names of its own."""
    with hub_in_thread(tmp_path_factory.mktemp("hub")) as running:
        yield running
