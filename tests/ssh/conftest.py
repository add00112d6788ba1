# SPDX-License-Identifier: Apache-2.0
"""One helper process per test that wants programs run."""

import pytest

from mezite.ssh.spawn import open_spawner


@pytest.fixture
async def spawner():
    async with open_spawner() as spawner:
        yield spawner
